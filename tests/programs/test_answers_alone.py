"""Whatever requests arrive together: each gets the answer that it would get alone, bit for bit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.domain.routing.table import Role
from tests.serving import TOKEN, GatewayProcess, control_plane, gateway, keep_classifier, route, table, target

#: Which package answers a version of an endpoint; None is whoever is live.
PACKAGES = {
    ("thyroid.prod", None): 0,
    ("thyroid.prod", 3): 0,
    ("thyroid.prod", 2): 1,
    ("thyroid.dev", None): 1,
    ("thyroid.dev", 5): 1,
}
OUTPUTS = ("label", "probabilities")


class Stage:
    """A gateway, and the packages that it serves."""

    def __init__(self, process: GatewayProcess, lanes: list[Lane]) -> None:
        self.process = process
        self.lanes = lanes


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    packages = [keep_classifier(blobs, seed=seed) for seed in (0, 1)]
    lanes = [load(package, blobs) for package in packages]
    assert all(lane.joins for lane in lanes)
    with control_plane() as control:
        control.publish(
            table(
                1,
                route("thyroid.prod", target(packages[0], 3), target(packages[1], 2, Role.WARM, 0)),
                route("thyroid.dev", target(packages[1], 5)),
            )
        )
        with gateway(home, control.url) as process:
            yield Stage(process.ready(), lanes)


REQUEST = st.fixed_dictionaries(
    {
        "place": st.sampled_from(sorted(PACKAGES, key=str)),
        "form": st.sampled_from(["nested", "flat", "columns", "raw", "raw both ways", "instances", "invocations"]),
        "rows": st.sampled_from([1, 1, 1, 2, 5, 64, 65]),
        "seed": st.integers(0, 1000),
        "outputs": st.sampled_from([None, ["label"], ["probabilities"], ["probabilities", "label"]]),
        "id": st.sampled_from([None, "", "7", 'a"b', "é"]),
        "key": st.sampled_from([None, "patient-7"]),
        "more": st.sampled_from([None, {"priority": 1}, {"priority": 3, "timeout": 20_000_000}]),
        "broken": st.sampled_from([False] * 9 + [True]),
    }
)


def values(request: dict[str, Any]) -> Any:
    return np.random.default_rng(request["seed"]).random((request["rows"], 4)).astype(np.float32)


def written(request: dict[str, Any]) -> bytes:
    """The request as it goes over the wire."""
    block = values(request)
    name, number = request["place"]
    headers: list[str] = []
    tail = b""
    listed = block.astype(float).tolist()
    if request["broken"]:
        listed[-1] = listed[-1][:-1]
    if request["form"] in ("instances", "invocations"):
        first = request["form"] == "instances"
        path = f"/v1/models/{name}:predict" if first else f"/endpoints/{name}/invocations"
        document: dict[str, Any] = {"instances" if first else "inputs": listed}
    else:
        path = f"/v2/models/{name}" + (f"/versions/{number}" if number else "") + "/infer"
        document = inference(request, block, listed)
        if request["form"].startswith("raw"):
            tail = block.tobytes()[: -4 if request["broken"] else None]
            document["inputs"][0]["parameters"] = {"binary_data_size": len(tail)}
    text = json.dumps(document).encode()
    if tail:
        headers.append(f"inference-header-content-length: {len(text)}")
    if request["key"]:
        headers.append(f"x-lockgate-key: {request['key']}")
    head = [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}", *headers]
    head.append(f"content-length: {len(text) + len(tail)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + text + tail


def inference(request: dict[str, Any], block: Any, listed: list[list[float]]) -> dict[str, Any]:
    form = request["form"]
    given: dict[str, Any] = {"name": "input", "shape": list(block.shape), "datatype": "FP32"}
    if form == "nested":
        given["data"] = listed
    elif form in ("flat", "columns"):
        given["data"] = [value for row in listed for value in row]
    document: dict[str, Any] = {"inputs": [given]}
    if form == "columns" and not request["broken"]:
        document["inputs"] = [
            {"name": f"x{at}", "shape": [len(block)], "datatype": "FP64", "data": block[:, at].astype(float).tolist()}
            for at in range(4)
        ]
    if request["outputs"]:
        document["outputs"] = [{"name": name} for name in request["outputs"]]
    if request["id"] is not None:
        document["id"] = request["id"]
    parameters = dict(request["more"] or {})
    if form == "raw both ways":
        parameters["binary_data_output"] = True
    if parameters:
        document["parameters"] = parameters
    return document


async def talk(port: int, requests: list[bytes]) -> list[tuple[int, dict[str, str], bytes]]:
    """Send requests behind each other over one connection, not waiting; the answers in their order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(requests))
    answers: list[tuple[int, dict[str, str], bytes]] = []
    for _ in requests:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        answers.append((int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))))
    writer.close()
    return answers


def outputs_of(headers: dict[str, str], body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON of an answer, and the values of its outputs."""
    length = int(headers.get("inference-header-content-length", len(body)))
    document = json.loads(body[:length])
    found: dict[str, Any] = {}
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["data"]
            continue
        raw, length = body[length : length + size], length + size
        found[output["name"]] = np.frombuffer(raw, "<f4").tolist() if output["datatype"] == "FP32" else texts(raw)
    return document, found


def texts(raw: bytes) -> list[str]:
    found: list[str] = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return found


def check(stage: Stage, request: dict[str, Any], status: int, headers: dict[str, str], body: bytes) -> None:
    name, number = request["place"]
    if request["broken"]:
        assert (status, json.loads(body)["code"]) == (400, "invalid_input")
        return
    assert status == 200, body
    form = request["form"]
    if form in ("instances", "invocations"):
        number = None
    alone = stage.lanes[PACKAGES[name, number]].predict((values(request),))
    live = {"thyroid.prod": 3, "thyroid.dev": 5}[name]
    assert headers["x-lockgate-version"] == f"thyroid:{number or live}"
    if form in ("instances", "invocations"):
        assert json.loads(body) == {"predictions": alone.labels}
        return
    document, found = outputs_of(headers, body)
    assert (document["model_name"], document["model_version"]) == (name, str(number or live))
    assert document.get("id") == request["id"]
    assert document["parameters"]["prediction_id"] == headers["x-lockgate-prediction-id"]
    assert list(found) == list(request["outputs"] or OUTPUTS)
    if "label" in found:
        assert found["label"] == alone.labels
    if "probabilities" in found:
        assert np.float32(found["probabilities"]).tobytes() == alone.scores.tobytes()


@settings(max_examples=40, deadline=None)
@given(connections=st.lists(st.lists(REQUEST, min_size=1, max_size=16), min_size=1, max_size=6))
def test_an_answer_is_the_one_that_its_request_would_get_alone(
    stage: Stage, connections: list[list[dict[str, Any]]]
) -> None:
    async def everybody() -> list[list[tuple[int, dict[str, str], bytes]]]:
        wires = [[written(request) for request in requests] for requests in connections]
        return await asyncio.gather(*(talk(stage.process.port, wire) for wire in wires))

    for requests, answers in zip(connections, asyncio.run(everybody()), strict=True):
        for request, (status, headers, body) in zip(requests, answers, strict=True):
            check(stage, request, status, headers, body)
