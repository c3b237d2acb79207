"""Gateways in front of an OpenAI-compatible server."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.adapters.secretfiles.folder import SecretFolder
from lockgate.base.errors import NotFound
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.registry.serving import Serving, Upstream
from lockgate.domain.routing.table import Role
from tests.serving import (
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    gateway,
    grants,
    keep_classifier,
    oip_body,
    route,
    table,
    target,
    until,
)
from tests.writer import WORDS, Writer, openai_server

pytestmark = pytest.mark.process
CHAT = {"model": "chat.prod", "messages": [{"role": "user", "content": "a prompt that nobody else may see"}]}


@pytest.fixture(scope="module")
def writer() -> Generator[Writer]:
    with openai_server() as made:
        yield made


@pytest.fixture(autouse=True)
def _well(writer: Writer) -> None:
    writer.fault, writer.failing, writer.pieces, writer.left = "", [], 0, 0
    writer.bodies.clear()
    writer.headers.clear()


@pytest.fixture(scope="module")
def control() -> Generator[ControlPlane]:
    with control_plane() as made:
        yield made


@pytest.fixture(scope="module")
def served(
    writer: Writer, control: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Generator[GatewayProcess]:
    home = tmp_path_factory.mktemp("chat")
    blobs = DirectoryBlobs(home / "blobs")
    (home / "secrets" / "upstream").mkdir(parents=True)
    (home / "secrets" / "upstream" / "friend").write_text("sk-friend\n")
    secrets = SecretFolder(home / "secrets" / "upstream")
    upstream = Upstream(url=writer.url, protocol="openai", model="tiny", token="secret://friend")
    config = ModelConfig(model="chat", owner="team", serving=Serving(lane="upstream", timeout=2.0, upstream=upstream))
    bench = PackageWorkbench(blobs, secrets=secrets)
    chat = bench.package(home, {}, config, {})
    wrong = replace(config, serving=replace(config.serving, upstream=replace(upstream, model="huge")))
    with pytest.raises(NotFound, match="no model 'huge'"):
        bench.package(home, {}, wrong, {})
    later = bench.package(home, {}, replace(config, serving=replace(config.serving, timeout=3.0)), {})
    control.publish(
        table(
            1,
            route(
                "both.prod",
                target(chat.digest, model="chat"),
                target(later.digest, 2, Role.SHADOW, model="chat"),
            ),
            route("chat.prod", target(chat.digest, model="chat")),
            route("thyroid.prod", target(keep_classifier(blobs))),
        ),
        tokens=grants() + grants("lg_only_test", ["test"]),
    )
    with gateway(home, control.url) as process:
        yield process.ready()


@pytest.fixture
def client(served: GatewayProcess) -> Generator[httpx.Client]:
    with served.client() as made:
        yield made


def post(client: httpx.Client, path: str = "/openai/v1/chat/completions", **more: Any) -> httpx.Response:
    return client.post(path, json=CHAT | more)


def events(client: httpx.Client, **more: Any) -> tuple[list[str], httpx.Response]:
    with client.stream("POST", "/openai/v1/chat/completions", json=CHAT | {"stream": True} | more) as response:
        return [line[6:] for line in response.iter_lines() if line.startswith("data: ")], response


def test_an_answer_comes_as_the_server_gave_it_and_says_who_answered(client: httpx.Client, writer: Writer) -> None:
    for prefix in ("/openai/v1", "/v1"):
        answer = post(client, f"{prefix}/chat/completions", temperature=0.5, seed=12)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == " ".join(WORDS)
        assert answer.headers["x-lockgate-version"] == "chat:1"
        assert len(answer.headers["x-lockgate-prediction-id"]) == 26
    assert writer.bodies[-1] == CHAT | {"model": "tiny", "temperature": 0.5, "seed": 12}
    assert writer.headers[-1]["authorization"] == "Bearer sk-friend"
    assert post(client, "/openai/v1/embeddings", input="x").json()["data"] == [{"embedding": [0.5]}]


def test_a_stream_comes_word_by_word_and_its_tokens_are_counted(
    client: httpx.Client, writer: Writer, served: GatewayProcess
) -> None:
    times: list[float] = []
    with client.stream("POST", "/openai/v1/chat/completions", json=CHAT | {"stream": True}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-lockgate-version"] == "chat:1"
        lines: list[str] = []
        for line in response.iter_lines():
            if line:
                lines.append(line)
                times.append(time.monotonic())
    said = [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in lines[:-1]]
    assert said == list(WORDS)
    assert lines[-1] == "data: [DONE]"
    assert times[-1] - times[0] > 0.1, "nothing was held back until the end"
    assert writer.bodies[-1]["stream_options"] == {"include_usage": True}
    found, _ = events(client, stream_options={"include_usage": True})
    assert json.loads(found[-2])["usage"]["completion_tokens"] == 4
    # The connection can be used again behind a stream.
    assert post(client).status_code == 200


def test_a_server_that_knows_no_stream_options_is_asked_without(client: httpx.Client, writer: Writer) -> None:
    writer.fault = "strict"
    found, response = events(client)
    assert response.status_code == 200
    assert found[-1] == "[DONE]"


def test_what_is_not_done_is_tried_again_and_what_has_begun_is_not(client: httpx.Client, writer: Writer) -> None:
    writer.failing = [503, 502]
    assert post(client).status_code == 200
    assert len(writer.bodies) == 3
    writer.bodies.clear()
    writer.fault = "half"
    broken = post(client)
    assert (broken.status_code, broken.json()["error"]["code"]) == (502, "upstream_failed")
    assert len(writer.bodies) == 1
    writer.fault = "huge"
    assert post(client).status_code == 502
    writer.bodies.clear()
    writer.fault = "torn"
    found, response = events(client)
    assert response.status_code == 200
    assert json.loads(found[-1])["error"]["code"] == "upstream_failed"
    assert len(writer.bodies) == 1


@pytest.mark.parametrize(("status", "seen"), [(400, 400), (422, 422), (429, 429), (401, 502), (404, 502), (500, 502)])
def test_refusals_have_the_form_that_clients_read(client: httpx.Client, writer: Writer, status: int, seen: int) -> None:
    writer.failing = [status]
    answer = post(client)
    assert answer.status_code == seen
    assert {"message", "type", "code"} <= set(answer.json()["error"])
    assert len(writer.bodies) == 1


def test_what_cannot_be_asked_is_refused_in_the_same_form(client: httpx.Client, served: GatewayProcess) -> None:
    def told(response: httpx.Response) -> tuple[int, str]:
        return response.status_code, response.json()["error"]["code"]

    assert told(post(client, model="nobody.prod")) == (404, "model_not_found")
    assert told(post(client, model="thyroid.prod")) == (404, "model_not_found")
    assert told(client.post("/v1/completions", content=b"{")) == (400, "invalid_input")
    assert told(client.post("/v1/completions", json=["model"])) == (400, "invalid_input")
    assert told(client.post("/v1/completions", json={"prompt": "x"})) == (400, "invalid_input")
    with served.client("lg_wrong") as stranger:
        assert told(post(stranger))[0] == 401
        assert stranger.get("/openai/v1/models").status_code == 401
    with served.client("lg_only_test") as other:
        assert told(post(other))[0] == 403
        assert other.get("/openai/v1/models").json()["data"] == []
    rows = client.post("/v2/models/chat.prod/infer", json=oip_body([[1.0]]))
    assert (rows.status_code, rows.json()["code"]) == (422, "generative")


def test_models_that_write_are_listed(client: httpx.Client) -> None:
    listed = client.get("/openai/v1/models").json()
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == ["both.prod", "chat.prod"]
    # KServe's V1 has the same address; clients of either find what they look for.
    both = client.get("/v1/models").json()
    assert both["data"] == listed["data"]
    assert both["models"] == ["both.prod", "chat.prod", "thyroid.prod"]


def test_shadows_answer_the_same_and_are_heard_by_nobody(client: httpx.Client, writer: Writer) -> None:
    found = events(client, model="both.prod")[0]
    assert len(found) == 5
    until(lambda: len(writer.bodies) == 2)
    assert [body.get("stream", False) for body in writer.bodies] == [True, False]

    assert post(client, model="both.prod").status_code == 200

    def counted(role: str) -> bool:
        # Four an answer; a server that tells no usage in streams was not heard the first time.
        labels = rf'endpoint="both.prod",version="chat:.",role="{role}",kind="completion"'
        pattern = rf"^lockgate_tokens_total{{{labels}}} [48]"
        return bool(re.search(pattern, client.get("/metrics").text, re.MULTILINE))

    until(lambda: counted("live") and counted("shadow"))


def test_a_trace_goes_on_elsewhere(client: httpx.Client, writer: Writer) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    client.post("/v1/chat/completions", json=CHAT, headers={"traceparent": trace})
    assert writer.headers[-1]["traceparent"][3:35] == trace[3:35]


def test_a_deadline_ends_a_slow_answer(client: httpx.Client, writer: Writer) -> None:
    writer.fault = "slow"
    start = time.monotonic()
    answer = client.post("/openai/v1/chat/completions", json=CHAT, headers={"x-lockgate-timeout-ms": "300"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - start < 2
    assert post(client).status_code == 504, "the package's own time holds where a caller names none"


def test_a_caller_that_goes_away_ends_the_call(served: GatewayProcess, writer: Writer) -> None:
    writer.fault = "slow"
    body = json.dumps(CHAT).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: writer.bodies)
    with served.client() as client:
        until(lambda: re.search(r"^lockgate_inflight_requests\S* 0", client.get("/metrics").text, re.MULTILINE))


def test_a_slow_reader_holds_the_server_back(served: GatewayProcess, writer: Writer) -> None:
    writer.fault = "endless"
    body = json.dumps(CHAT | {"stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: writer.pieces > 50)
        time.sleep(1.5)
        before = writer.pieces
        time.sleep(0.5)
        assert writer.pieces - before < 20, "nobody reads, so nothing more may be fetched"
        for _ in range(2000):
            caller.recv(1 << 16)
        assert writer.pieces > before
    until(lambda: writer.left)


def test_nothing_that_was_written_is_kept(client: httpx.Client, served: GatewayProcess) -> None:
    post(client)
    events(client)
    time.sleep(0.2)
    kept = [path.read_bytes() for path in served.home.rglob("*") if path.is_file()]
    assert not any(b"nobody else may see" in data or b"enlarged" in data for data in kept)
    assert not any(b"sk-friend" in data for data in kept if data != b"sk-friend\n")


def test_many_at_once_get_their_own_answers(served: GatewayProcess, writer: Writer) -> None:
    found: list[int] = []

    def ask() -> None:
        with served.client() as client:
            for _ in range(5):
                found.append(len(events(client)[0]))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5] * 40
