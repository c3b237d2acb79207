"""The gRPC side of a gateway among restarts, and callers who send whatever they like."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.grpc.schema import message
from lockgate.dataplane.http2 import frames
from lockgate.dataplane.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame, settings
from tests.h2 import HELLO, INFER, Caller, Wire, headers
from tests.h2 import message as packed
from tests.serving import (
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    free_port,
    gateway,
    keep_classifier,
    route,
    table,
    target,
    until,
)

AUTHORIZED = ((b"authorization", f"Bearer {TOKEN}".encode()),)


def request() -> Any:
    made = message("inference.ModelInferRequest")(model_name="thyroid.prod")
    made.inputs.add(name="input", datatype="FP32", shape=[1, 4])
    made.raw_input_contents.append(np.array([0.1, 0.2, 0.3, 0.4], np.float32).tobytes())
    return made


BODY = packed(request().SerializeToString())


@dataclass
class Stage:
    """A home with a package, and a control plane."""

    home: Path
    control: ControlPlane


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    package = keep_classifier(DirectoryBlobs(tmp_path / "blobs"))
    with control_plane() as control:
        control.publish(table(1, route("thyroid.prod", target(package, 1))))
        yield Stage(tmp_path, control)


@dataclass
class Load:
    """grpcio channels that never stop asking, each on a connection of its own."""

    port: int
    callers: int = 8
    answered: int = 0
    lost: list[str] = field(default_factory=list[str])

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(self.callers)]
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > 100, 20.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        answers = message("inference.ModelInferResponse")
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.min_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            ask: Any = channel.unary_unary(INFER.decode(), response_deserializer=answers.FromString)
            data = request().SerializeToString()
            metadata = (("authorization", f"Bearer {TOKEN}"),)
            while not self._stop.is_set():
                try:
                    answer = ask(data, metadata=metadata, wait_for_ready=True, timeout=30)
                    if answer.model_version == "1":
                        self.answered += 1
                except grpc.RpcError as error:
                    self.lost.append(str(error))


def test_a_rolling_restart_under_load_loses_nothing(stage: Stage) -> None:
    port, grpc_port = free_port(), free_port()
    with ExitStack() as stack:

        def start(worker: str) -> GatewayProcess:
            more = {"LOCKGATE_WORKER": worker, "LOCKGATE_GATEWAY_GRPC_PORT": str(grpc_port)}
            process = stack.enter_context(gateway(stage.home, stage.control.url, port, **more))
            until(lambda: "the gateway listens" in process.stderr_path.read_text(), 20.0)
            return process

        first, second = start("0"), start("1")
        with Load(grpc_port) as load:
            assert first.stop() == 0
            start("0")
            assert second.stop() == 0
            before = load.answered
            until(lambda: load.answered > before + 100, 20.0)
        assert load.lost == []


def test_a_socket_of_the_supervisor_keeps_callers_through_a_restart(stage: Stage) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        socket.create_server(("127.0.0.1", 0), backlog=128) as grpc_listener,
    ):
        for kept in (listener, grpc_listener):
            kept.set_inheritable(True)
        secret = stage.home / "secrets" / "gateway-token"
        secret.parent.mkdir()
        secret.write_text("lg_test_token_of_the_gateway")
        env = os.environ | {
            "LOCKGATE_HOME": str(stage.home),
            "LOCKGATE_CONTROL_URL": stage.control.url,
            "LOCKGATE_GATEWAY_FD": str(listener.fileno()),
            "LOCKGATE_GATEWAY_GRPC_FD": str(grpc_listener.fileno()),
            "LOCKGATE_GATEWAY_DRAIN_SECONDS": "0.5",
        }
        command = [sys.executable, "-m", "lockgate.dataplane.main"]
        passed = [listener.fileno(), grpc_listener.fileno()]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, env=env, pass_fds=passed, stderr=subprocess.DEVNULL)

        first = start()
        try:
            with Load(grpc_listener.getsockname()[1]) as load:
                first.terminate()
                assert first.wait(20) == 0
                before = load.answered
                first = start()
                until(lambda: load.answered > before + 100, 20.0)
            assert load.lost == []
        finally:
            first.kill()
            first.wait()


def test_grpc_can_be_left_out(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url, LOCKGATE_GATEWAY_GRPC_PORT="0") as process:
        process.ready()
        assert '"grpc_port": null' in process.stderr_path.read_text()


def test_more_connections_than_are_allowed_are_told_so(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url, LOCKGATE_GATEWAY_MAX_CONNECTIONS="3") as process:
        process.ready()
        wires = [Wire(process.grpc_port) for _ in range(4)]
        for wire in wires:
            wire.more()
        assert wires[3].goaway() == (0, frames.ENHANCE_YOUR_CALM)
        wires[0].send(wires[0].caller.call(headers(INFER, *AUTHORIZED), BODY))
        assert wires[0].answers(1)[1].headers["grpc-status"] == "0"
        for wire in wires:
            wire.socket.close()


def test_whoever_says_nothing_is_sent_away(stage: Stage) -> None:
    with gateway(
        stage.home,
        stage.control.url,
        LOCKGATE_GATEWAY_HEADER_SECONDS="0.4",
        LOCKGATE_GATEWAY_IDLE_SECONDS="0.4",
    ) as process:
        process.ready()
        with Wire(process.grpc_port, HELLO[:10]) as silent, Wire(process.grpc_port) as idle:
            assert silent.goaway()[1] == frames.PROTOCOL_ERROR
            assert idle.goaway() == (0, frames.NO_ERROR)


def _sessions(chance: np.random.Generator) -> bytes:
    """A session of valid calls, then broken in some place."""
    caller = Caller()
    sent = bytearray(HELLO)
    for _ in range(int(chance.integers(1, 6))):
        sent += caller.call(headers(INFER, *AUTHORIZED), BODY)
    kind = int(chance.integers(5))
    if kind == 0:
        del sent[int(chance.integers(len(sent))) :]
    elif kind == 1:
        for _ in range(int(chance.integers(1, 10))):
            sent[int(chance.integers(len(sent)))] = int(chance.integers(256))
    elif kind == 2:
        at = int(chance.integers(24, len(sent)))
        sent[at:at] = chance.bytes(int(chance.integers(1, 200)))
    elif kind == 3:
        for _ in range(20):
            payload = chance.bytes(int(chance.integers(0, 40)))
            sent += frame(int(chance.integers(0, 12)), int(chance.integers(256)), int(chance.integers(0, 12)), payload)
    else:
        at = int(chance.integers(24, len(sent)))
        end = at + int(chance.integers(1, 60))
        del sent[at:end]
    return bytes(sent)


def test_no_bytes_stop_a_worker_or_disturb_other_callers(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url) as process:
        process.ready()
        chance = np.random.default_rng(11)
        with Wire(process.grpc_port) as steady:
            for turn in range(400):
                with socket.create_connection(("127.0.0.1", process.grpc_port), timeout=5) as wild:
                    try:
                        wild.sendall(_sessions(chance))
                        wild.shutdown(socket.SHUT_WR)
                        _check_whole(_all_of(wild))
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                if turn % 20 == 0:
                    steady.send(steady.caller.call(headers(INFER, *AUTHORIZED), BODY))
                    answer = steady.answers(steady.caller.stream)[steady.caller.stream]
                    assert answer.headers["grpc-status"] == "0"
        assert process.process.poll() is None
        assert "a fault in the gateway" not in process.stderr_path.read_text()
        assert process.stop() == 0


def _all_of(wire: socket.socket) -> bytes:
    found = b""
    while data := wire.recv(1 << 16):
        found += data
    return found


def _check_whole(data: bytes) -> None:
    """Whatever is answered is whole frames of kinds that a server sends, and statuses that calls can have."""
    caller = Caller()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 3])
        kind, flags = data[at + 3], data[at + 4]
        payload = data[at + 9 : at + 9 + size]
        assert len(payload) == size
        assert kind in (DATA, HEADERS, frames.RST_STREAM, frames.SETTINGS, frames.PING, frames.GOAWAY, 8)
        if kind == HEADERS:
            told = {bytes(name).decode(): bytes(value) for name, value in caller.decoder.decode(payload, raw=True)}
            if flags & END_STREAM and b":status" not in payload:
                assert told.get("grpc-status", b"0") in {b"%d" % status for status in range(17)} - {b"2", b"13"}
        at += 9 + size


def test_a_peer_that_never_reads_costs_no_more_than_its_share(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url, LOCKGATE_GATEWAY_WRITE_SECONDS="1") as process:
        process.ready()
        hello = frames.PREFACE + settings({frames.INITIAL_WINDOW_SIZE: 0})
        with Wire(process.grpc_port, hello) as stuck, Wire(process.grpc_port) as other:
            for _ in range(50):
                stuck.send(stuck.caller.call(headers(INFER, *AUTHORIZED), BODY))
            assert stuck.goaway()[1] == frames.ENHANCE_YOUR_CALM
            other.send(other.caller.call(headers(INFER, *AUTHORIZED), BODY))
            assert other.answers(1)[1].headers["grpc-status"] == "0"


def test_a_cancelled_upload_gives_back_its_room(stage: Stage) -> None:
    with gateway(stage.home, stage.control.url, LOCKGATE_GATEWAY_MAX_INFLIGHT_BYTES="200000") as process:
        process.ready()
        with Wire(process.grpc_port) as wire:
            for at in range(20):
                number = 2 * at + 1
                block = wire.caller.encoder.encode(headers(INFER, *AUTHORIZED))
                wire.send(frame(HEADERS, END_HEADERS, number, block))
                wire.send(frame(DATA, 0, number, bytes(60_000)) * 3)
                wire.send(frames.reset(number, frames.CANCEL))
            wire.caller.stream = 39
            wire.send(wire.caller.call(headers(INFER, *AUTHORIZED), BODY))
            assert wire.answers(41)[41].headers["grpc-status"] == "0"
            time.sleep(0.05)
            assert not any(found.kind == frames.GOAWAY for found in wire.frames)
