"""One real gateway process: packed bodies, raw tensors, KServe's first protocol, deadlines, limits for each caller."""

from __future__ import annotations

import gzip
import json
import resource
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from tests.serving import (
    MIXED_COLUMNS,
    TOKEN,
    GatewayProcess,
    control_plane,
    gateway,
    grants,
    keep_classifier,
    keep_regression,
    mixed,
    oip_body,
    reciprocal,
    route,
    table,
    target,
    until,
)
from tests.unit.dataplane.test_plane import ONE_NUMBER

INFER = "/v2/models/thyroid.prod/infer"
PREDICT = "/v1/models/thyroid.prod:predict"
ROW = oip_body([[0.1, 0.2, 0.3, 0.4]])
ROWS = np.random.default_rng(5).random((3, 4)).astype(np.float32)
OTHER_TOKEN = "lg_test_token_of_somebody_else"


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    package = keep_classifier(blobs)
    dose = keep_regression(blobs, mixed(), MIXED_COLUMNS)
    inverse = keep_regression(blobs, reciprocal(), ONE_NUMBER, model="inverse")
    with control_plane() as control:
        control.publish(
            table(
                7,
                route("thyroid.prod", target(package, 3)),
                route("dose.dev", target(dose, 1, model="dose")),
                route("inverse.dev", target(inverse, 1, model="inverse")),
            )
        )
        with gateway(home, control.url, LOCKGATE_GATEWAY_MAX_UNPACKED="1000000") as process:
            yield process.ready()


@pytest.fixture
def client(served: GatewayProcess) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


def raw_body(values: Any, **more: Any) -> tuple[bytes, dict[str, str]]:
    described = {
        "name": "input",
        "shape": list(values.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": values.nbytes},
    }
    text = json.dumps({"inputs": [described]} | more).encode()
    return text + values.tobytes(), {"inference-header-content-length": str(len(text))}


# --- raw tensors


def test_raw_tensors_go_in_and_come_out(client: httpx.Client, forest: Lane) -> None:
    body, headers = raw_body(ROWS, parameters={"binary_data_output": True})
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-lockgate-version"] == "thyroid:3"
    length = int(answer.headers["inference-header-content-length"])
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(answer.content[:length])["outputs"]]
    assert len(answer.content) == length + sum(sizes)
    assert answer.content[-sizes[1] :] == forest.predict((ROWS,)).scores.tobytes()


def test_the_same_head_may_be_followed_by_other_bodies(client: httpx.Client, forest: Lane) -> None:
    # What a head says is kept, so nothing of one body may be kept with it.
    for rows in (1, 2, 3, 2):
        values = np.random.default_rng(rows).random((rows, 4)).astype(np.float32)
        body, headers = raw_body(values)
        padded = headers | {"x-padding": "x" * (3 - rows)}
        answer = client.post(INFER, content=body, headers=padded)
        assert np.array_equal(np.float32(answer.json()["outputs"][1]["data"]), forest.predict((values,)).scores.ravel())


# --- packed bodies


@pytest.mark.parametrize("path", [INFER, "/endpoints/thyroid.prod/invocations", PREDICT])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
def test_packed_requests_are_taken_everywhere(client: httpx.Client, path: str, coding: str) -> None:
    document: Any = ROW if path == INFER else {"instances": [[0.1, 0.2, 0.3, 0.4]]}
    plain = json.dumps(document).encode()
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding](plain)
    answers = [
        client.post(path, content=packed, headers={"content-encoding": coding}),
        client.post(path, content=packed, headers={"content-encoding": coding}),
        client.post(path, content=plain),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    outputs = [answer.json().get("outputs") or answer.json()["predictions"] for answer in answers]
    assert outputs[0] == outputs[1] == outputs[2]


def test_a_large_packed_body_is_unpacked_beside_the_loop(client: httpx.Client, forest: Lane) -> None:
    values = np.random.default_rng(9).random((50_000, 4)).astype(np.float32)
    body, headers = raw_body(values, outputs=[{"name": "probabilities", "parameters": {"binary_data": True}}])
    assert len(body) > 500_000
    answer = client.post(INFER, content=gzip.compress(body, 1), headers=headers | {"content-encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.content.endswith(forest.predict((values,)).scores.tobytes())


def test_what_is_too_large_once_it_is_unpacked_is_refused_and_costs_no_memory(
    served: GatewayProcess, client: httpx.Client
) -> None:
    bomb = gzip.compress(b" " * (300 << 20), 9)
    before = memory(served)
    for _ in range(3):
        answer = client.post(INFER, content=bomb, headers={"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert memory(served) - before < 20 << 20
    assert client.post(INFER, json=ROW).status_code == 200


def memory(process: GatewayProcess) -> int:
    pages = int(Path(f"/proc/{process.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_broken_packing_and_unknown_packing_are_told_apart(client: httpx.Client) -> None:
    broken = gzip.compress(json.dumps(ROW).encode())[:-9]
    answer = client.post(INFER, content=broken, headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    long = gzip.compress(np.random.default_rng(1).bytes(900_000))[:-9]
    answer = client.post(INFER, content=long, headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    answer = client.post(INFER, json=ROW, headers={"content-encoding": "zstd"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_who_may_not_predict_has_nothing_unpacked(served: GatewayProcess) -> None:
    answer = httpx.post(served.url + INFER, content=b"nonsense", headers={"content-encoding": "gzip"})
    assert answer.status_code == 401


def test_large_answers_are_packed_for_who_asks_and_small_ones_never(client: httpx.Client) -> None:
    many = oip_body(np.random.default_rng(2).random((1000, 4)))
    packed = client.post(INFER, json=many, headers={"accept-encoding": "gzip"})
    plain = client.post(INFER, json=many, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in plain.headers
    assert packed.json()["outputs"] == plain.json()["outputs"]
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert "content-encoding" not in client.post(INFER, json=ROW, headers={"accept-encoding": "gzip"}).headers


def test_a_very_large_answer_is_packed_beside_the_loop_and_keeps_its_place(served: GatewayProcess) -> None:
    many = oip_body(np.random.default_rng(2).random((20_000, 4)))
    with served.client() as client:
        packed = client.post(INFER, json=many, headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.json()["outputs"][0]["shape"] == [20_000]
        assert client.post(INFER, json=ROW).status_code == 200


# --- KServe's first protocol


def test_kserves_first_protocol_predicts_from_lists_and_from_records(client: httpx.Client, forest: Lane) -> None:
    answer = client.post(PREDICT, json={"instances": ROWS.tolist()})
    assert answer.json() == {"predictions": forest.predict((ROWS,)).labels}
    assert answer.headers["x-lockgate-version"] == "thyroid:3"
    records = [{"age": 61, "weight": 70.0, "sex": "F"}, {"age": 62, "weight": 80.5}]
    answer = client.post("/v1/models/dose.dev:predict", json={"instances": records})
    assert answer.json() == {"predictions": [231.0, 142.5]}
    assert client.get("/v1/models").json()["models"] == ["dose.dev", "inverse.dev", "thyroid.prod"]
    assert client.get("/v1/models/dose.dev").json() == {"name": "dose.dev", "ready": True}
    assert client.get("/").json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", PREDICT, {"inputs": [[1, 2, 3, 4]]}, 400, "invalid_input"),
        ("POST", PREDICT, {"instances": [[1, 2, 3, 4]], "more": 1}, 400, "invalid_input"),
        ("POST", PREDICT, {"instances": []}, 400, "invalid_input"),
        ("POST", PREDICT, [[1, 2, 3, 4]], 400, "invalid_input"),
        ("POST", "/v1/models/nobody.prod:predict", {"instances": [[1]]}, 404, "not_found"),
        ("GET", PREDICT, None, 405, "method_not_allowed"),
        ("POST", "/v1/models/thyroid.prod:forget", {}, 404, "not_found"),
        ("POST", "/v1/models/thyroid.prod:explain", {"instances": [[1]]}, 400, "invalid_input"),
        ("POST", "/v1/models/thyroid.prod:explain?" + "a=1&" * 20, {"instances": [[1]]}, 400, "invalid_input"),
        ("GET", "/v1/models/nobody.prod", None, 404, "not_found"),
    ],
)
def test_what_it_cannot_say_is_refused(
    client: httpx.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"error", "code", "hint"}


def test_no_answer_ever_holds_a_number_that_is_none(client: httpx.Client) -> None:
    for path, body in (
        ("/v2/models/inverse.dev/infer", oip_body([[0.0]], name="x")),
        ("/v2/models/inverse.dev/infer", oip_body([[0.0]], name="x", parameters={"binary_data_output": True})),
        ("/v1/models/inverse.dev:predict", {"instances": [[0.0]]}),
        ("/endpoints/inverse.dev/invocations", {"inputs": [[0.0]]}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_output")


# --- deadlines


@pytest.mark.parametrize("name", ["x-lockgate-timeout-ms", "x-envoy-expected-rq-timeout-ms"])
def test_whoever_waits_no_longer_is_told_so_without_a_prediction(client: httpx.Client, name: str) -> None:
    answer = client.post(INFER, json=ROW, headers={name: "0.001"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "x-lockgate-prediction-id" not in answer.headers
    assert client.post(INFER, json=ROW, headers={name: "10000"}).status_code == 200
    # Nought says nothing, as with Envoy.
    assert client.post(INFER, json=ROW, headers={name: "0"}).status_code == 200


def test_tritons_parameters_name_a_deadline_and_a_priority_too(client: httpx.Client) -> None:
    late = client.post(INFER, json=ROW | {"parameters": {"timeout": 1}})
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert client.post(INFER, json=ROW | {"parameters": {"timeout": 5_000_000, "priority": 1}}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({"x-lockgate-timeout-ms": "soon"}, {}),
        ({"x-lockgate-timeout-ms": "-1"}, {}),
        ({"x-lockgate-timeout-ms": "nan"}, {}),
        ({"x-lockgate-timeout-ms": "inf"}, {}),
        ({"x-lockgate-priority": "highest"}, {}),
        ({}, {"timeout": -5}),
        ({}, {"timeout": "5"}),
        ({}, {"priority": True}),
    ],
)
def test_a_deadline_or_priority_that_makes_no_sense_is_refused(
    client: httpx.Client, headers: dict[str, str], parameters: dict[str, Any]
) -> None:
    answer = client.post(INFER, json=ROW | {"parameters": parameters}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


# --- limits


def test_each_caller_has_limits_of_its_own_and_is_told_when_to_come_again(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    package = keep_classifier(blobs)
    other = grants(OTHER_TOKEN)[0] | {"principal": "bob"}
    with control_plane() as control:
        control.publish(table(1, route("thyroid.prod", target(package, 1))), [*grants(), other])
        with gateway(
            tmp_path, control.url, LOCKGATE_GATEWAY_TENANT_RATE="2", LOCKGATE_GATEWAY_TENANT_BURST="5"
        ) as process:
            process.ready()
            with process.client(TOKEN) as ada, process.client(OTHER_TOKEN) as bob:
                answers = [ada.post(INFER, json=ROW) for _ in range(7)]
                assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
                refused = answers[-1]
                assert refused.json()["code"] == "too_many_requests"
                assert refused.headers["retry-after"] == "1"
                assert bob.post(INFER, json=ROW).status_code == 200
                # What is not a prediction is not counted.
                assert ada.get("/v2/models/thyroid.prod").status_code == 200
                time.sleep(0.6)
                assert ada.post(INFER, json=ROW).status_code == 200


def test_readiness_rests_on_proofs_and_being_alive_does_not(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    package = keep_classifier(blobs)
    with control_plane() as control:
        control.publish(table(1, route("thyroid.prod", target(package, 1))))
        with gateway(tmp_path, control.url, LOCKGATE_GATEWAY_CHECK_SECONDS="0.05") as process:
            process.ready()
            with process.client() as client:
                # After several intervals it is ready only because it was checked meanwhile.
                time.sleep(0.5)
                for path in ("/v2/health/ready", "/v2/models/thyroid.prod/ready", "/v1/models/thyroid.prod"):
                    assert client.get(path).status_code == 200
        with gateway(tmp_path, control.url, LOCKGATE_GATEWAY_CHECK_SECONDS="0") as process:
            # No interval at all: every proof is too old at once.
            until(lambda: _status(process, "/v2/health/live") == 200)
            until(lambda: _status(process, "/v2/health/ready") == 503)
            with process.client() as client:
                index = client.post("/v2/repository/index").json()
                assert [entry["state"] for entry in index] == ["UNAVAILABLE"]
                assert "proof" in index[0]["reason"]
                assert client.post("/v2/repository/index", json={"ready": True}).json() == []
                assert client.post("/v2/repository/index", json={"ready": "x"}).status_code == 400
                found = client.get("/v2/models/thyroid.prod/ready")
                assert (found.status_code, found.json()["ready"]) == (503, False)
                assert client.get("/v1/models/thyroid.prod").status_code == 503
                assert client.post(INFER, json=ROW).status_code == 200


def _status(process: GatewayProcess, path: str) -> int:
    try:
        return httpx.get(f"{process.url}{path}").status_code
    except httpx.TransportError:
        return 0
