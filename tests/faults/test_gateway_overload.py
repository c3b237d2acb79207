"""Ten times what a gateway can answer: it answers what it can, refuses the rest at once, and recovers (G35)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from lockgate.adapters.blobs.directory import DirectoryBlobs
from tests.faults.wire import request
from tests.serving import (
    GatewayProcess,
    control_plane,
    gateway,
    keep_regression,
    numbers,
    oip_body,
    route,
    table,
    target,
)

ASK = request("/v2/models/dose.prod/infer", json.dumps(oip_body([[0.5]], name="x")).encode())
#: Work of one row: sines of a value, over and over.
WIDTH, DEPTH = 120_000, 12
#: Connections of the open-loop client: with fewer it would wait for answers, and be no storm.
MOST_LINES = 900


def laborious() -> bytes:
    """A regression of one column that takes some ten milliseconds a row, however many rows share a call."""
    names = [f"s{at}" for at in range(DEPTH + 1)]
    nodes = [helper.make_node("Mul", ["x", "ones"], [names[0]])]
    nodes += [helper.make_node("Sin", [before], [after]) for before, after in pairwise(names)]
    nodes.append(helper.make_node("ReduceMean", [names[-1]], ["prediction"], axes=[1], keepdims=1))
    made = helper.make_graph(
        nodes,
        "laborious",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor("ones", TensorProto.DOUBLE, [1, WIDTH], np.ones(WIDTH))],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[GatewayProcess]:
    package = keep_regression(DirectoryBlobs(tmp_path / "blobs"), laborious(), numbers(1), layout="matrix")
    with control_plane() as control:
        control.publish(table(1, route("dose.prod", target(package, model="dose"))))
        with gateway(tmp_path, control.url) as process:
            yield process.ready()


@dataclass
class Storm:
    """What became of requests that were sent whether or not the ones before had been answered."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    #: Refusals that did not say when to come again.
    speechless: int = 0
    broken: int = 0
    #: Seconds that answers and refusals took.
    answered: list[float] = field(default_factory=list[float])
    refused: list[float] = field(default_factory=list[float])
    #: Requests that found no connection free, for the client has an end too.
    unsent: int = 0

    @property
    def goodput(self) -> int:
        return self.statuses[200]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, storm: Storm) -> bool:
    began = time.monotonic()
    writer.write(ASK)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(fields["content-length"]))
    status = int(head[9:12])
    storm.statuses[status] += 1
    (storm.answered if status == 200 else storm.refused).append(time.monotonic() - began)
    storm.speechless += status != 200 and "retry-after" not in fields
    return fields.get("connection") != "close"


async def _closed(port: int, callers: int, seconds: float) -> Storm:
    """Callers who each wait for their answer: what the gateway can do."""
    storm, end = Storm(), time.monotonic() + seconds

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            await _ask(reader, writer, storm)
        writer.close()

    await asyncio.gather(*(call() for _ in range(callers)))
    return storm


async def _open(port: int, rate: float, seconds: float) -> Storm:
    """Requests at a rate, whatever becomes of them."""
    storm, idle = Storm(), list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
    lines = 0
    began = time.monotonic()

    async def one() -> None:
        nonlocal lines
        try:
            if idle:
                wire = idle.pop()
            else:
                lines += 1
                wire = await asyncio.open_connection("127.0.0.1", port)
            if await _ask(*wire, storm):
                idle.append(wire)
            else:
                wire[1].close()
                lines -= 1
        except (OSError, asyncio.IncompleteReadError):
            storm.broken += 1
            lines -= 1

    async with asyncio.TaskGroup() as group:
        sent = 0
        while (now := time.monotonic() - began) < seconds:
            while sent < now * rate:
                sent += 1
                if idle or lines < MOST_LINES:
                    group.create_task(one())
                else:
                    storm.unsent += 1
            await asyncio.sleep(0.002)
    for _, writer in idle:
        writer.close()
    return storm


def test_callers_who_come_back_at_once_cost_those_let_in_little(busy: GatewayProcess, soak: bool) -> None:
    seconds = 20.0 if soak else 3.0
    before = asyncio.run(_closed(busy.port, 4, seconds))
    storm = asyncio.run(_closed(busy.port, 300, seconds))
    assert set(storm.statuses) == {200, 503}, storm.statuses
    assert storm.speechless == 0
    after = asyncio.run(_closed(busy.port, 4, seconds))
    # None of three hundred waits before the next request, and each refusal costs both ends something.
    assert storm.goodput >= 0.6 * min(before.goodput, after.goodput), (before.goodput, storm.statuses, after.goodput)


def test_ten_times_too_much_is_refused_at_once_and_the_rest_answered(busy: GatewayProcess, soak: bool) -> None:
    seconds = 20.0 if soak else 3.0
    before = asyncio.run(_closed(busy.port, 4, seconds))
    storm = asyncio.run(_open(busy.port, 10 * before.goodput / seconds, seconds))
    assert set(storm.statuses) <= {200, 429, 503}, storm.statuses
    shed = storm.statuses[429] + storm.statuses[503]
    # What found no free connection counts to the storm as well: so much was wanted, however fast the client is.
    assert shed > 0
    assert shed + storm.unsent > storm.goodput, "it was no storm"
    assert (storm.broken, storm.speechless) == (0, 0)
    # Those who are let in must not wait in a queue that only grows; and who is refused is told before it is done.
    assert np.median(storm.answered) < 2.0
    assert np.median(storm.refused) < np.median(storm.answered)
    # And when it is over, it is over.
    after = asyncio.run(_closed(busy.port, 4, seconds))
    assert set(after.statuses) == {200}, after.statuses
    # Side by side with what it could do before and can do after, on whatever else this machine is at. Refusing costs
    # something, and the client takes a core itself.
    assert storm.goodput >= 0.5 * min(before.goodput, after.goodput), (before.goodput, storm.statuses, after.goodput)
