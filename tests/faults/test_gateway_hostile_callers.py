"""A gateway and callers that mean no good: bombs, floods, dribbles and noise. It stays, and stays small."""

from __future__ import annotations

import json
import random
import socket
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from tests.faults.wire import Line, Reply, request
from tests.serving import (
    MIXED_COLUMNS,
    GatewayProcess,
    control_plane,
    gateway,
    keep_classifier,
    keep_regression,
    mixed,
    oip_body,
    route,
    table,
    target,
)

INFER = "/v2/models/thyroid.prod/infer"
ROW = json.dumps(oip_body([[0.1, 0.2, 0.3, 0.4]])).encode()
#: Megabytes that hostile callers may cost a gateway (G40), and the pages that the allocator keeps for next time.
MOST_GROWTH = 64
MIB = 1 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with limits that a test can reach."""
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    with control_plane() as control:
        control.publish(
            table(
                1,
                route("thyroid.prod", target(keep_classifier(blobs))),
                route("dose.prod", target(keep_regression(blobs, mixed(), MIXED_COLUMNS), model="dose")),
            )
        )
        with gateway(
            home,
            control.url,
            LOCKGATE_GATEWAY_MAX_BODY=str(4 * MIB),
            LOCKGATE_GATEWAY_HEADER_SECONDS="1.0",
            LOCKGATE_GATEWAY_BODY_SECONDS="2.0",
        ) as process:
            yield process.ready()
            assert process.process.poll() is None, process.stderr_path.read_text()
            assert "a fault in the gateway" not in process.stderr_path.read_text()


def _served(process: GatewayProcess) -> bool:
    with Line(process.port) as line:
        found = line.ask(request(INFER, ROW))
    return found is not None and found.status == 200


def _megabytes(process: GatewayProcess) -> float:
    """Most memory it ever held."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def test_a_body_of_a_gigabyte_is_refused_and_costs_no_memory(small: GatewayProcess) -> None:
    before = _megabytes(small)
    piece = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    with Line(small.port) as line:
        # Nobody has to read on, and nobody may keep it.
        with suppress(OSError):
            line.send(request(INFER, b"", "transfer-encoding: chunked", length=False))
            for _ in range(1024):
                line.send(piece)
        found = line.answer()
    assert found is None or (found.status, found.headers["connection"]) == (413, "close")
    assert _megabytes(small) - before < MOST_GROWTH
    assert _served(small)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_goes_off(small: GatewayProcess, coding: str) -> None:
    before = _megabytes(small)
    packer = zlib.compressobj(6, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    packed = b"".join(packer.compress(b" " * MIB) for _ in range(400)) + packer.flush()
    assert len(packed) < MIB
    with Line(small.port) as line:
        found = line.ask(request(INFER, packed, f"content-encoding: {coding}"))
    assert found is not None
    assert found.status == 413
    assert _megabytes(small) - before < MOST_GROWTH
    assert _served(small)


def test_many_who_dribble_keep_nobody_else_waiting_and_are_let_go(small: GatewayProcess) -> None:
    whole = request(INFER, ROW)
    slow = [socket.create_connection(("127.0.0.1", small.port), timeout=20) for _ in range(300)]
    for place, wire in enumerate(slow):
        # Some stop in their heads, some in their bodies.
        wire.sendall(whole[: 20 if place % 2 else len(whole) - 5])
    assert all(_served(small) for _ in range(20))
    for wire in slow:
        answered = wire.recv(65536)
        assert answered == b"" or answered.startswith(b"HTTP/1.1 408")
        wire.close()
    assert _served(small)


def test_noise_in_bytes_makes_no_fault_and_no_answer_to_what_is_no_request(small: GatewayProcess, soak: bool) -> None:
    chance = random.Random(20_261_121)
    seeds = [request(INFER, ROW), request("/invocations", ROW, "content-type: text/csv"), request("/v2", b"")]
    before = _megabytes(small)
    for _ in range(20_000 if soak else 600):
        data = _damaged(chance, chance.choice(seeds))
        with Line(small.port) as line:
            line.send(data)
            line.end()
            while (found := line.answer()) is not None:
                _tell_tale(found, data)
    assert _megabytes(small) - before < MOST_GROWTH
    assert _served(small)


def test_noise_in_documents_is_answered_or_refused_in_words(small: GatewayProcess, soak: bool) -> None:
    chance = random.Random(61)
    people = {
        "inputs": [
            {"name": "age", "shape": [1, 1], "datatype": "INT64", "data": [40]},
            {"name": "weight", "shape": [1, 1], "datatype": "FP64", "data": [70.5]},
            {"name": "sex", "shape": [1, 1], "datatype": "BYTES", "data": ["F"]},
        ]
    }
    frame = {"dataframe_split": {"columns": ["age", "weight", "sex"], "data": [[40, 70.5, "F"]]}}
    seeds = [
        (INFER, json.loads(ROW)),
        ("/v2/models/dose.prod/infer", people),
        ("/endpoints/dose.prod/invocations", frame),
        ("/v1/models/dose.prod:predict", {"instances": [{"age": 40, "weight": 70.5, "sex": "F"}]}),
    ]
    line = Line(small.port)
    for _ in range(20_000 if soak else 1500):
        path, seed = chance.choice(seeds)
        body = json.dumps(_changed(chance, seed)).encode()
        found = line.ask(request(path, body, "content-type: application/json"))
        assert found is not None, body
        _tell_tale(found, body)
        if found.headers.get("connection") == "close":
            line.close()
            line = Line(small.port)
    line.close()
    assert _served(small)


def _tell_tale(found: Reply, sent: bytes) -> None:
    """Whatever was sent, an answer is no fault of ours, says what it is, and is legal JSON."""
    assert found.status < 500 or found.status == 503, (sent, found)
    if found.status != 200:
        assert {"error", "code"} <= json.loads(found.body, parse_constant=_illegal).keys(), (sent, found)
    elif found.headers.get("content-type") == "application/json" and found.body:
        json.loads(found.body, parse_constant=_illegal)


def _illegal(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def _damaged(chance: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(out))
        kind = chance.randrange(5)
        if kind == 0:
            out[at] = chance.randrange(256)
        elif kind == 1:
            del out[at : at + chance.randint(1, 20)]
        elif kind == 2:
            out[at:at] = chance.randbytes(chance.randint(1, 8))
        elif kind == 3:
            out[at:at] = chance.choice([b"\r\n", b"\r\n\r\n", b"\0", b": ", b"content-length: 5\r\n", b"\xff\xfe"])
        else:
            out[at:at] = out[at : at + chance.randint(1, 60)]
        if not out:
            return data
    return bytes(out)


_STRANGE = [
    None,
    True,
    -1,
    0,
    1 << 70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 300,
    "\ud800",
    [],
    {},
    [[]],
    [1, "a"],
]


def _changed(chance: random.Random, value: object) -> object:
    """The same document with something strange somewhere in it."""
    if chance.random() < 0.12:
        return chance.choice(_STRANGE)
    if isinstance(value, dict):
        made = {str(name): _changed(chance, inner) for name, inner in value.items()}
        if made and chance.random() < 0.1:
            made.pop(chance.choice(sorted(made)))
        if chance.random() < 0.1:
            made[chance.choice(["parameters", "id", "outputs", "shape", "name", "extra"])] = chance.choice(_STRANGE)
        return made
    if isinstance(value, list):
        made_list = [_changed(chance, inner) for inner in value]
        return made_list * chance.choice([1, 1, 1, 2, 50]) if chance.random() < 0.2 else made_list
    return value
