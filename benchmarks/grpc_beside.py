"""gRPC inference beside MLServer's: h2load sends one request again and again, each connection one at a time."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from math import isclose
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks import beside
from benchmarks.beside import ENDPOINT, Contestant, expected, rows_of
from benchmarks.figures import say
from benchmarks.gateways import Gateways, gateways, live, route
from benchmarks.load import Ask, Load
from benchmarks.model import NAME
from benchmarks.peers import Rows, peers
from benchmarks.running import HOST
from benchmarks.serving import Server
from tools.packages import MissingParts, install_system_packages

METHOD = "/inference.GRPCInferenceService/ModelInfer"
#: What stands before each message: not compressed, and its length.
_PREFIX = struct.Struct(">BI")
_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def measure(files: Path, home: Path, package: str, load: beside.Load) -> list[dict[str, Any]]:
    """The compiled lane by gRPC beside MLServer's, raw tensors in; gives all cells.

    Raises:
        RuntimeError: h2load is not here, or one of them does not give the right answer.
    """
    find_h2load()
    with ExitStack() as stack:
        say("starting Lockgate")
        own = stack.enter_context(gateways([route(NAME, live(package))], home))
        other = peers()[0]
        say(f"starting {other.name}")
        other.start(files)
        stack.callback(other.stop)
        theirs = _contestant("MLServer ONNX", f"http://{HOST}:{other.port + 1}", "biopsy", (), other.pids(), files)
        return beside.compare("gRPC", [_own(own, files), theirs], load, base="MLServer ONNX")


def _own(running: Gateways, files: Path) -> Contestant:
    return _contestant("Lockgate", running.grpc, ENDPOINT, running.headers, running.pids(), files)


def _contestant(
    name: str, url: str, model: str, headers: tuple[tuple[str, str], ...], pids: list[int], files: Path
) -> Contestant:
    def ask(count: int) -> Ask:
        return Ask(url=url + METHOD, body=request(model, rows_of(files, count)), headers=headers)

    _check(name, ask(1), expected(files))
    server = Server(name, ask(1), pids, pids, load=lambda ask, connections, seconds: press(ask, connections, seconds))
    return Contestant(server=server, ask=ask)


def _check(name: str, ask: Ask, probability: float) -> None:
    try:
        answer = _call(ask)
    except grpc.RpcError as error:
        raise RuntimeError(f"{name} does not answer by gRPC: {error}") from error
    if not any(isclose(value, probability, abs_tol=1e-4) for value in _numbers(answer)):
        raise RuntimeError(f"{name} did not answer {probability} by gRPC: {answer[:200]!r}")


def _call(ask: Ask) -> bytes:
    address = ask.url.removeprefix("http://").removesuffix(METHOD)
    # One row or many: the channel's own limit is not what is measured.
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        call: Any = channel.unary_unary(METHOD, request_serializer=bytes, response_deserializer=bytes)
        return call(ask.sent, metadata=ask.headers, timeout=20)


def find_h2load() -> None:
    """See to it that h2load is here; installs Debian's when this user may.

    Raises:
        RuntimeError: it is not, and cannot be installed.
    """
    if not shutil.which("h2load"):
        try:
            install_system_packages("nghttp2-client")
        except (MissingParts, subprocess.CalledProcessError) as error:
            raise RuntimeError("gRPC is measured with h2load (apt-get install nghttp2-client)") from error


def press(ask: Ask, connections: int, seconds: float) -> Load:
    """Call over so many connections for so long; whole seconds."""
    whole = max(1, round(seconds))
    size = len(_call(ask)) + _PREFIX.size
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(_PREFIX.pack(0, len(ask.sent)) + ask.sent)
        headers = [word for name, value in _lines(ask) for word in ("-H", f"{name}: {value}")]
        command = ("h2load", "-t1", f"-c{connections}", "-m1", f"-D{whole}", "-d", body, f"--log-file={log}", *headers)
        told = subprocess.run((*command, ask.url), capture_output=True, text=True, check=True, timeout=whole + 60)
        # When it began (µs), status, how long it took (µs).
        took = [int(line.split("\t")[2]) / 1e3 for line in log.read_text().splitlines()]
    counted = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", told.stdout)
    data = re.search(r"\((\d+)\) data", told.stdout)
    if counted is None or data is None or not took:
        raise RuntimeError(f"h2load said {told.stdout[-500:]!r} {told.stderr[-500:]!r}")
    done, failed, errored, late = map(int, counted.groups())
    # gRPC refuses with status 200 and no message, which to h2load is a success: only the bytes tell.
    refused = max(0, done - round(int(data[1]) / size)) + failed
    p50, p99 = (float(each) for each in np.quantile(took, [0.5, 0.99]))
    broken = errored + late
    return Load(requests=done + failed, seconds=whole, p50_ms=p50, p99_ms=p99, refused=refused, broken=broken)


def _lines(ask: Ask) -> tuple[tuple[str, str], ...]:
    return (("content-type", "application/grpc"), ("te", "trailers"), *ask.headers)


def request(model: str, rows: Rows) -> bytes:
    """A ModelInferRequest with one raw tensor of doubles."""
    raw = np.asarray(rows, dtype=np.float64).tobytes()
    shape = _varint(len(rows)) + _varint(len(rows[0]))
    tensor = _field(1, b"x") + _field(2, b"FP64") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, raw)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _numbers(answer: bytes) -> Iterator[float]:
    """Whatever in a ModelInferResponse can be read as a number: in raw tensors (6), or in typed ones (5)."""
    for number, value in _fields(answer):
        if number == 6:
            yield from (_FLOAT.unpack_from(value, at)[0] for at in range(0, len(value) - 3, 4))
            yield from (_DOUBLE.unpack_from(value, at)[0] for at in range(0, len(value) - 7, 8))
        elif number == 5:
            for inner, contents in _fields(value):
                if inner == 5:
                    yield from (n for _, packed in _fields(contents) for n in _numbers(_field(6, packed)))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _read(message, at)
        if tag & 7 == 2:
            size, at = _read(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        elif tag & 7 == 0:
            _, at = _read(message, at)
        else:
            at += 8 if tag & 7 == 1 else 4


def _read(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at
