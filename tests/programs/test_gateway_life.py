"""A gateway among failures: the control plane gone, a worker killed, a disk full, swaps, a rolling restart."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.domain.routing.table import Role
from tests.logged import logged_in
from tests.serving import (
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    free_port,
    gateway,
    keep_classifier,
    oip_body,
    route,
    table,
    target,
    until,
)

INFER = "/v2/models/thyroid.prod/infer"
ROW = oip_body([[0.1, 0.2, 0.3, 0.4]])


@dataclass
class Stage:
    """A home with two packages and a control plane."""

    home: Path
    control: ControlPlane
    package: str
    other: str


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    package, other = keep_classifier(blobs), keep_classifier(blobs, seed=1)
    with control_plane() as control:
        control.publish(table(1, route("thyroid.prod", target(package, 1), target(other, 2, Role.WARM, 0))))
        yield Stage(tmp_path, control, package, other)


@dataclass
class Load:
    """Keep-alive callers that never stop asking, in a thread of their own."""

    port: int
    callers: int = 16
    answered: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])
    lost: list[str] = field(default_factory=list[str])
    bad: list[str] = field(default_factory=list[str])

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        until(lambda: len(self.answered) > 200)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.callers):
                group.create_task(self._call())

    async def _call(self) -> None:
        body = json.dumps(ROW).encode()
        head = (
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        while not self._stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                # Nobody listens: no request was made, so none is lost.
                await asyncio.sleep(0.005)
                continue
            try:
                while not self._stop.is_set():
                    writer.write(head.encode() + body)
                    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    fields = dict(line.split(": ", 1) for line in answer.split("\r\n")[1:] if line)
                    await reader.readexactly(int(fields["content-length"]))
                    if not answer.startswith("HTTP/1.1 200"):
                        self.bad.append(answer)
                    else:
                        stamp = fields["x-lockgate-prediction-id"]
                        self.answered.append((time.monotonic(), fields["x-lockgate-version"], stamp))
                    if fields.get("connection") == "close":
                        break
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.lost.append(repr(error))
            finally:
                writer.close()


def test_it_serves_on_without_the_control_plane_and_starts_again_without_it(stage: Stage) -> None:
    port = free_port()
    with gateway(stage.home, stage.control.url, port) as first:
        first.ready()
        state = stage.home / "gateway" / "0" / "state.json"
        until(state.exists)
        assert state.stat().st_mode & 0o077 == 0
    nowhere = f"http://127.0.0.1:{free_port()}"
    with gateway(stage.home, nowhere, port) as again:
        again.ready(5.0)
        with again.client() as client:
            assert client.post(INFER, json=ROW).headers["x-lockgate-generation"] == "1"


def test_without_any_routes_it_is_live_but_not_ready(tmp_path: Path) -> None:
    with gateway(tmp_path, f"http://127.0.0.1:{free_port()}", LOCKGATE_GATEWAY_START_SECONDS="0.2") as process:
        until(lambda: _status(process, "/v2/health/live") == 200)
        assert _status(process, "/v2/health/ready") == 503
        assert _status(process, "/v2/models") == 503
        assert process.stop() == 0


def _status(process: GatewayProcess, path: str) -> int:
    try:
        return httpx.get(process.url + path).status_code
    except httpx.TransportError:
        return 0


def test_an_older_generation_is_refused(stage: Stage) -> None:
    stage.control.publish(table(5, route("thyroid.prod", target(stage.package, 1))))
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        stage.control.publish(table(4, route("thyroid.prod", target(stage.other, 2))))
        until(lambda: "older generation" in process.stderr_path.read_text())
        assert client.post(INFER, json=ROW).headers["x-lockgate-generation"] == "5"


MISSING = "sha256:" + "0" * 64


def _generation(client: httpx.Client, endpoint: str = "thyroid.prod") -> str:
    answer = client.post(f"/v2/models/{endpoint}/infer", json=ROW)
    return answer.headers.get("x-lockgate-generation", str(answer.status_code))


def test_a_version_that_cannot_be_loaded_holds_up_its_own_endpoint_and_no_other(stage: Stage) -> None:
    first = route("thyroid.prod", target(stage.package, 1))
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        stage.control.publish(
            table(2, route("thyroid.prod", target(MISSING, 3)), route("thyroid.test", target(stage.other, 2)))
        )
        beat = until(lambda: [beat for beat in stage.control.heartbeats if beat["problems"]])[0]
        assert (beat["generation"], beat["held"], list(beat["problems"])) == (2, {"thyroid.prod": 1}, [MISSING])
        assert (_generation(client), _generation(client, "thyroid.test")) == ("1", "2")
        # What is held stays as it was through changes elsewhere, and goes on at its own next change.
        stage.control.publish(table(3, route("thyroid.prod", target(MISSING, 3)), route("thyroid.dev", *first.targets)))
        until(lambda: _generation(client, "thyroid.dev") == "3")
        assert (_generation(client), _generation(client, "thyroid.test")) == ("1", "404")
        stage.control.publish(table(4, route("thyroid.prod", target(stage.other, 2))))
        until(lambda: _generation(client) == "4")
        until(lambda: stage.control.heartbeats[-1]["generation"] == 4)
        assert "held" not in stage.control.heartbeats[-1]
        assert stage.control.heartbeats[-1]["problems"] == {}


def test_a_package_that_comes_late_is_loaded_without_another_word_from_the_control_plane(stage: Stage) -> None:
    blobs = DirectoryBlobs(stage.home / "blobs")
    late = blobs.path(stage.other)
    aside = late.with_name("aside")
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        stage.control.publish(table(2, route("thyroid.prod", target(stage.package, 1))))
        until(lambda: _generation(client) == "2")
        late.rename(aside)
        stage.control.publish(table(3, route("thyroid.prod", target(stage.other, 2))))
        until(lambda: stage.control.heartbeats[-1].get("held") == {"thyroid.prod": 2})
        told = stage.control.told
        time.sleep(2.0)
        assert stage.control.told - told <= 4, "it asks more and more rarely"
        aside.rename(late)
        until(lambda: _generation(client) == "3")


def test_an_endpoint_that_is_held_is_still_answered_after_a_restart_without_the_control_plane(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        stage.control.publish(
            table(2, route("thyroid.prod", target(MISSING, 3)), route("thyroid.test", target(stage.other, 2)))
        )
        until(lambda: _generation(client, "thyroid.test") == "2")
        until(lambda: b"held" in (stage.home / "gateway" / "0" / "state.json").read_bytes())
        process.stop(signal.SIGKILL)
    with gateway(stage.home, "http://127.0.0.1:9") as process, process.ready().client() as client:
        assert (_generation(client), _generation(client, "thyroid.test")) == ("1", "2")


def test_a_new_endpoint_that_cannot_be_loaded_is_closed_and_told(stage: Stage) -> None:
    first = route("thyroid.prod", target(stage.package, 1))
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        stage.control.publish(table(2, first, route("thyroid.test", target(MISSING, 3))))
        until(lambda: stage.control.heartbeats[-1].get("held") == {"thyroid.test": -1})
        assert (_generation(client), _generation(client, "thyroid.test")) == ("2", "503")


def test_without_a_descriptor_left_it_waits_in_peace_and_goes_on_when_there_is_one(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process:
        process.ready()
        pid = process.process.pid
        most = len(os.listdir(f"/proc/{pid}/fd")) + 4
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        wires = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(40)]
        time.sleep(1.0)
        assert 1 <= process.stderr_path.read_text().count("a connection cannot be taken") <= 10
        for wire in wires:
            wire.close()
        with process.client() as client:
            assert client.post(INFER, json=ROW).status_code == 200


def test_a_token_taken_away_is_refused_at_once(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        assert client.post(INFER, json=ROW).status_code == 200
        stage.control.publish(table(1, route("thyroid.prod", target(stage.package, 1))), tokens=[], revision="2")
        until(lambda: client.post(INFER, json=ROW).status_code == 401)


def test_a_swap_under_load_loses_nothing_and_is_over_in_a_moment(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process:
        process.ready()
        with Load(process.port) as load:
            published = time.monotonic()
            stage.control.publish(
                table(2, route("thyroid.prod", target(stage.other, 2), target(stage.package, 1, Role.WARM, 0)))
            )
            until(lambda: load.answered[-1][1] == "thyroid:2")
            time.sleep(0.3)
        assert (load.lost, load.bad) == ([], [])
        last_of_old = max(at for at, version, _ in load.answered if version == "thyroid:1")
        assert last_of_old - published < 1.0


def test_a_rolling_restart_under_keep_alive_load_loses_nothing(stage: Stage) -> None:
    port = free_port()
    with ExitStack() as stack:

        def start(worker: str) -> GatewayProcess:
            process = stack.enter_context(gateway(stage.home, stage.control.url, port, LOCKGATE_WORKER=worker))
            until(lambda: (process.process.pid, 1) in [(b["pid"], b["generation"]) for b in stage.control.heartbeats])
            return process

        first, second = start("0"), start("1")
        with Load(port) as load:
            assert first.stop() == 0
            start("0")
            assert second.stop() == 0
            time.sleep(0.3)
        assert (load.lost, load.bad) == ([], [])
        assert len(load.answered) > 500


def test_a_socket_of_the_supervisor_keeps_callers_through_a_restart(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.set_inheritable(True)
        port = listener.getsockname()[1]
        env = os.environ | {
            "LOCKGATE_HOME": str(stage.home),
            "LOCKGATE_CONTROL_URL": stage.control.url,
            "LOCKGATE_GATEWAY_FD": str(listener.fileno()),
            "LOCKGATE_GATEWAY_DRAIN_SECONDS": "0.5",
        }
        command = [sys.executable, "-m", "lockgate.dataplane.main"]
        secret = stage.home / "secrets" / "gateway-token"
        secret.parent.mkdir()
        secret.write_text("lg_test_token_of_the_gateway")

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, env=env, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)

        first = start()
        try:
            until(lambda: stage.control.heartbeats and stage.control.heartbeats[-1]["generation"] == 1)
            with Load(port) as load:
                first.terminate()
                assert first.wait(20) == 0
                before = len(load.answered)
                first = start()
                until(lambda: len(load.answered) > before + 100)
            assert (load.lost, load.bad) == ([], [])
        finally:
            first.kill()
            first.wait()


def test_every_answer_of_a_killed_gateway_is_in_the_log(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process:
        process.ready()
        with Load(process.port, callers=8) as load:
            process.stop(signal.SIGKILL)
    logged = {row.prediction_id for row in logged_in(stage.home / "log")}
    assert {stamp for _, _, stamp in load.answered} <= logged


def test_a_full_disk_costs_the_log_and_no_prediction(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process, process.ready().client() as client:
        client.post(INFER, json=ROW)
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        for _ in range(60):
            assert client.post(INFER, json=ROW).status_code == 200
        lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        assert int(lines["lockgate_log_dropped_total"]) > 0
        assert int(lines["lockgate_log_dropped_total"]) + int(lines["lockgate_log_written_total"]) == 61
        until(lambda: [beat for beat in stage.control.heartbeats if beat["log"]["dropped"]])


def test_more_than_it_can_take_is_shed_and_may_come_again(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url, LOCKGATE_GATEWAY_MAX_INFLIGHT="2") as process:
        process.ready()
        body = json.dumps(ROW).encode()
        lines = (f"POST {INFER} HTTP/1.1", f"authorization: Bearer {TOKEN}", f"content-length: {len(body)}", "", "")
        one = "\r\n".join(lines).encode()
        with socket.create_connection(("127.0.0.1", process.port)) as wire:
            wire.sendall((one + body) * 20)
            read = b""
            while read.count(b"HTTP/1.1") < 20 or not read.endswith(b"}"):
                read += wire.recv(65536)
        assert read.count(b"HTTP/1.1 200") >= 2
        assert read.count(b"HTTP/1.1 503") == read.count(b"retry-after: 1") > 0


def test_settings_that_make_no_sense_are_told_together() -> None:
    env = os.environ | {
        "LOCKGATE_GATEWAY_PORT": "many",
        "LOCKGATE_GATEWAY_IDLE_SECONDS": "-1",
        "LOCKGATE_WORKER": "../x",
    }
    done = subprocess.run(
        [sys.executable, "-m", "lockgate.dataplane.main"], env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert all(
        name in done.stderr for name in ("LOCKGATE_GATEWAY_PORT", "LOCKGATE_GATEWAY_IDLE_SECONDS", "LOCKGATE_WORKER")
    )
