"""One real gateway process and everything a caller may say to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.domain.monitoring.layout import Failure
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.routing.table import Role
from tests.logged import Row, logged_in
from tests.serving import (
    MIXED_COLUMNS,
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    gateway,
    grants,
    keep_classifier,
    keep_regression,
    mixed,
    oip_body,
    route,
    table,
    target,
    until,
)

INFER = "/v2/models/thyroid.prod/infer"
ROW = oip_body([[0.1, 0.2, 0.3, 0.4]])
DEV_TOKEN = "lg_test_token_for_dev_only"


class Stage:
    """A gateway with two endpoints, a shadow and a warm version."""

    def __init__(self, home: Path, control: ControlPlane, process: GatewayProcess, forest: Lane) -> None:
        self.home = home
        self.control = control
        self.process = process
        self.forest = forest


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    package, other = keep_classifier(blobs), keep_classifier(blobs, seed=1)
    dose = keep_regression(blobs, mixed(), MIXED_COLUMNS)
    with control_plane() as control:
        control.publish(
            table(
                7,
                route(
                    "thyroid.prod",
                    target(package, 3),
                    target(other, 4, Role.SHADOW, 10_000),
                    target(other, 2, Role.WARM, 0),
                ),
                route("dose.dev", target(dose, 1, model="dose")),
            ),
            grants() + grants(DEV_TOKEN, ["dev"]),
        )
        with gateway(
            home,
            control.url,
            LOCKGATE_GATEWAY_MAX_BODY="100000",
            LOCKGATE_GATEWAY_HEADER_SECONDS="1",
            LOCKGATE_GATEWAY_BODY_SECONDS="1",
        ) as process:
            yield Stage(home, control, process.ready(), load(package, blobs))


@pytest.fixture
def client(stage: Stage) -> Iterator[httpx.Client]:
    with stage.process.client() as client:
        yield client


def test_a_prediction_is_the_models_own_and_says_who_made_it(stage: Stage, client: httpx.Client) -> None:
    rows = np.random.default_rng(5).random((3, 4))
    answer = client.post(INFER, json=oip_body(rows, id="42"))
    body = answer.json()
    assert answer.status_code == 200
    assert (body["model_name"], body["model_version"], body["id"]) == ("thyroid.prod", "3", "42")
    assert body["parameters"] == {"prediction_id": answer.headers["x-lockgate-prediction-id"], "generation": 7}
    assert answer.headers["x-lockgate-version"] == "thyroid:3"
    assert answer.headers["x-lockgate-generation"] == "7"
    assert len(body["parameters"]["prediction_id"]) == 26
    expected = stage.forest.predict((rows.astype(np.float32),))
    label, probabilities = body["outputs"]
    assert (label["name"], label["datatype"], label["shape"], label["data"]) == ("label", "BYTES", [3], expected.labels)
    assert (probabilities["shape"], probabilities["datatype"]) == ([3, 2], "FP32")
    assert np.array_equal(np.float32(probabilities["data"]), expected.scores.ravel())


def test_ids_sort_in_the_order_of_the_requests(client: httpx.Client) -> None:
    ids = [client.post(INFER, json=ROW).headers["x-lockgate-prediction-id"] for _ in range(20)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 20


def test_only_the_wanted_outputs_are_sent(client: httpx.Client) -> None:
    body = client.post(INFER, json=ROW | {"outputs": [{"name": "probabilities"}]}).json()
    assert [output["name"] for output in body["outputs"]] == ["probabilities"]


def test_a_version_can_be_asked_by_its_number(client: httpx.Client) -> None:
    answer = client.post("/v2/models/thyroid.prod/versions/2/infer", json=ROW)
    assert answer.json()["model_version"] == "2"


def test_columns_are_answered_by_name(client: httpx.Client) -> None:
    columns = [
        {"name": "age", "shape": [2], "datatype": "INT64", "data": [61, 62]},
        {"name": "weight", "shape": [2, 1], "datatype": "FP64", "data": [[70], [80.5]]},
        {"name": "sex", "shape": [2], "datatype": "BYTES", "data": ["F", "M"]},
    ]
    body = client.post("/v2/models/dose.dev/infer", json={"inputs": columns}).json()
    assert body["outputs"] == [{"name": "prediction", "shape": [2], "datatype": "FP64", "data": [231.0, 142.5]}]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/endpoints/thyroid.prod/invocations", {}),
        ("/invocations", {"x-lockgate-endpoint": "thyroid.prod"}),
    ],
)
def test_mlflow_clients_get_labels(stage: Stage, client: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = client.post(path, json={"inputs": [[0.1, 0.2, 0.3, 0.4], [0.9, 0.9, 0.9, 0.9]]}, headers=headers)
    rows = np.array([[0.1, 0.2, 0.3, 0.4], [0.9, 0.9, 0.9, 0.9]], dtype=np.float32)
    assert answer.json() == {"predictions": stage.forest.predict((rows,)).labels}
    assert answer.headers["x-lockgate-version"] == "thyroid:3"


def test_mlflow_clients_get_numbers_from_csv(client: httpx.Client) -> None:
    answer = client.post(
        "/endpoints/dose.dev/invocations", content="age,weight,sex\n61,70,F\n", headers={"content-type": "text/csv"}
    )
    assert answer.json() == {"predictions": [231.0]}


def test_the_server_and_its_models_are_described(client: httpx.Client) -> None:
    assert client.get("/v2").json()["name"] == "lockgate"
    assert client.get("/v2/models").json() == {"models": ["dose.dev", "thyroid.prod"]}
    found = client.get("/v2/models/thyroid.prod").json()
    assert found["versions"] == ["2", "3", "4"]
    assert found["inputs"][0] == {"name": "x0", "datatype": "FP64", "shape": [-1]}
    assert found["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert client.get("/v2/models/thyroid.prod/versions/3").json() == found
    assert client.get("/v2/models/thyroid.prod/ready").json() == {"name": "thyroid.prod", "ready": True}
    index = client.post("/v2/repository/index").json()
    assert {(entry["name"], entry["version"], entry["state"]) for entry in index} == {
        ("dose.dev", "1", "READY"),
        ("thyroid.prod", "2", "READY"),
        ("thyroid.prod", "3", "READY"),
        ("thyroid.prod", "4", "READY"),
    }
    assert client.post("/v2/repository/models/thyroid.prod/load").status_code == 200


def test_anonymous_callers_learn_only_live_ready_and_version(stage: Stage) -> None:
    with httpx.Client(base_url=stage.process.url) as anybody:
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version"):
            assert anybody.get(path).status_code == 200
        for path in ("/v2/models", "/v2/models/thyroid.prod", "/v2/models/thyroid.prod/ready", "/metrics"):
            assert anybody.get(path).status_code == 401
        assert anybody.post("/v2/repository/index").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("POST", INFER, {"headers": {"authorization": "Bearer wrong"}, "json": ROW}, 401, "unauthenticated"),
        ("POST", INFER, {"headers": {"authorization": "Basic eDp5"}, "json": ROW}, 401, "unauthenticated"),
        ("POST", INFER, {"headers": {"authorization": f"Bearer {DEV_TOKEN}"}, "json": ROW}, 403, "forbidden"),
        ("POST", "/v2/models/nobody.prod/infer", {"json": ROW}, 404, "not_found"),
        ("POST", "/v2/models/thyroid.prod/versions/9/infer", {"json": ROW}, 404, "not_found"),
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", INFER, {}, 405, "method_not_allowed"),
        ("DELETE", "/v2/models/thyroid.prod", {}, 405, "method_not_allowed"),
        ("POST", INFER, {"content": b"{"}, 400, "invalid_input"),
        ("POST", INFER, {"content": b""}, 400, "invalid_input"),
        ("POST", INFER, {"json": ROW, "headers": {"x-lockgate-key": "k" * 2000}}, 400, "invalid_input"),
        ("POST", INFER, {"json": ROW, "headers": {"inference-header-content-length": "10"}}, 400, "invalid_input"),
        ("POST", INFER, {"json": ROW, "headers": {"content-encoding": "gzip"}}, 400, "invalid_input"),
        ("POST", INFER, {"json": ROW, "headers": {"content-encoding": "br"}}, 415, "unsupported_encoding"),
        ("POST", "/invocations", {"json": {"inputs": [[1, 2, 3, 4]]}}, 400, "endpoint_not_named"),
        (
            "POST",
            "/endpoints/thyroid.prod/invocations",
            {"content": b"<a/>", "headers": {"content-type": "text/xml"}},
            415,
            "unsupported_media_type",
        ),
        ("POST", INFER, {"content": b"x" * 200_000}, 413, "too_large"),
        ("POST", "/v2/models/thyroid.prod/generate", {"json": {"text_input": "hello"}}, 422, "not_generative"),
        ("POST", "/v2/models/thyroid.prod/versions/3/generate_stream", {"json": {}}, 422, "not_generative"),
        ("POST", "/v2/repository/models/thyroid.prod/unload", {}, 409, "not_allowed_now"),
        ("GET", "/" + "a" * 9000, {}, 414, "target_too_long"),
        ("GET", "/v2", {"headers": {"x-much": "a" * 40_000}}, 431, "head_too_large"),
        ("POST", INFER, {"json": ROW, "headers": {"expect": "200-ok"}}, 417, "unknown_expectation"),
    ],
)
def test_every_refusal_has_a_status_a_code_and_a_sentence(
    client: httpx.Client, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    answer = client.request(method, path, **options)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["error"]
    assert set(answer.json()) == {"error", "code", "hint"}
    assert client.post(INFER, json=ROW).status_code == 200


def test_what_may_be_used_instead_is_said_with_a_405(client: httpx.Client) -> None:
    assert client.get(INFER).headers["allow"] == "POST"
    assert client.post("/v2").headers["allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    answer = client.head("/v2/models")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def talk(stage: Stage, sent: bytes, *, then: bytes = b"", until_bytes: bytes = b"") -> bytes:
    """Send raw bytes and read until the gateway hangs up, or until some bytes came."""
    with socket.create_connection(("127.0.0.1", stage.process.port), timeout=10) as wire:
        wire.sendall(sent)
        read = b""
        while chunk := wire.recv(65536):
            read += chunk
            if then and b"100 Continue" in read:
                wire.sendall(then)
                then = b""
            if until_bytes and until_bytes in read:
                break
        return read


def request(body: bytes, *headers: str, path: str = INFER) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BODY = json.dumps(ROW).encode()


def test_pipelined_requests_are_answered_in_their_order(stage: Stage) -> None:
    sent = b""
    for number in range(40):
        if number % 3 == 0:
            sent += b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        body = json.dumps(ROW | {"id": f"n{number}"}).encode()
        sent += request(body, f"content-length: {len(body)}")
    read = talk(stage, sent + b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    places = [read.index(f'"id":"n{number}"'.encode()) for number in range(40)]
    assert places == sorted(places)
    assert read.count(b"HTTP/1.1 200 OK") == 40 + 14 + 1


def test_chunked_bodies_are_read(stage: Stage) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:10], BODY[10:])) + b"0\r\n\r\n"
    read = talk(stage, request(chunks, "transfer-encoding: chunked", "connection: close"))
    assert read.startswith(b"HTTP/1.1 200 OK")


def test_chunked_bodies_have_a_limit_too(stage: Stage) -> None:
    chunks = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    read = talk(stage, request(chunks * 4, "transfer-encoding: chunked"))
    assert read.startswith(b"HTTP/1.1 413")


def test_a_caller_may_ask_before_sending_its_body(stage: Stage) -> None:
    asked = request(b"", f"content-length: {len(BODY)}", "expect: 100-continue", "connection: close")
    read = talk(stage, asked, then=BODY)
    assert read.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    refused = talk(stage, request(b"", "content-length: 999999", "expect: 100-continue"))
    assert refused.startswith(b"HTTP/1.1 413")


def test_an_upgrade_is_not_taken_and_its_request_answered(stage: Stage) -> None:
    headers = b"host: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\r\n"
    upgrade = b"GET /version HTTP/1.1\r\n" + headers
    read = talk(stage, upgrade + b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert read.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_one_answer_and_the_door(stage: Stage, sent: bytes) -> None:
    read = talk(stage, sent)
    assert read.startswith(b"HTTP/1.1 400")
    assert b"malformed_http" in read


def test_old_http_is_answered_and_closed(stage: Stage) -> None:
    assert talk(stage, b"GET /version HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "sent", [b"POST /v2 HTTP/1.1\r\nhost", request(b"", "content-length: 100"), b"GET /" + b"a" * 100]
)
def test_a_slow_caller_is_told_and_let_go(stage: Stage, sent: bytes) -> None:
    read = talk(stage, sent)
    assert read.startswith(b"HTTP/1.1 408")
    assert b"timeout" in read


def test_a_head_that_never_ends_is_refused(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.process.port), timeout=10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nx: ")
        read = b""
        for _ in range(100):
            try:
                wire.sendall(b"a" * 1000)
            except OSError:
                break
        while chunk := wire.recv(65536):
            read += chunk
    assert read.startswith(b"HTTP/1.1 431")


def test_metrics_count_what_was_answered(stage: Stage, client: httpx.Client) -> None:
    def answered() -> int:
        text = client.get("/metrics").text
        labels = 'endpoint="thyroid.prod",version="thyroid:3",role="live",code="200",protocol="oip"'
        start = f"lockgate_requests_total{{{labels}}} "
        return next((int(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)), 0)

    before = answered()
    for _ in range(5):
        client.post(INFER, json=ROW)
    assert answered() == before + 5


def test_profiles_and_the_log_hold_every_answer_and_the_shadows_too(stage: Stage, client: httpx.Client) -> None:
    answer = client.post(INFER, json=ROW, headers={"x-lockgate-key": "patient-7"})
    client.post(INFER, content=b"{")
    wanted = answer.headers["x-lockgate-prediction-id"]

    def logged() -> list[Row]:
        found = [row for row in logged_in(stage.home / "log") if row.prediction_id == wanted]
        return found if len(found) == 2 else []

    live, shadow = sorted(until(logged), key=lambda entry: entry.role)
    assert (live.role, live.version, live.generation) == ("live", "thyroid:3", 7)
    assert (shadow.role, shadow.version) == ("shadow", "thyroid:4")
    assert live.inputs == {f"x{at}": pytest.approx(value) for at, value in enumerate([0.1, 0.2, 0.3, 0.4])}
    assert live.predicted == answer.json()["outputs"][0]["data"][0]
    assert live.score == pytest.approx(answer.json()["outputs"][1]["data"][0])

    rows = [row for push in stage.control.profiles for row in push["rows"] if row["version"] == "thyroid:3"]
    live_rows = [Profile.decode(row["data"], stage.forest.baseline) for row in rows if row["role"] == "live"]
    assert sum(profile.folded for profile in live_rows) > 0
    assert sum(profile.errors[Failure.INVALID_INPUT] for profile in live_rows) > 0
    roles = {row["role"] for push in stage.control.profiles for row in push["rows"]}
    assert roles == {"live", "shadow", "pinned"}
    pushed = [(push["source"], push["seq"]) for push in stage.control.profiles]
    assert len(set(pushed)) == len(pushed)


def test_heartbeats_say_which_generation_is_in_force(stage: Stage) -> None:
    beat = until(lambda: [beat for beat in stage.control.heartbeats if beat["generation"] == 7])[0]
    assert (beat["worker"], beat["pid"], beat["problems"]) == ("0", stage.process.process.pid, {})
