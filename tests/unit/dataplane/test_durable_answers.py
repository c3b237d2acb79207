"""An answer that demands a record leaves when the record is on the disk, and not before."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane import oip
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.plane import Plane
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.routing import LiveTarget
from lockgate.domain.monitoring.layout import Failure
from tests.logged import logged_in
from tests.serving import keep_classifier, served_as, target


class Disk:
    """`os.fdatasync`, which may be slow or broken."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.broken = False
        self.syncs = 0
        self._real = os.fdatasync

    def __call__(self, descriptor: int) -> None:
        self.syncs += 1
        assert self.free.wait(10)
        if self.broken:
            raise OSError(5, "Input/output error")
        self._real(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("os.fdatasync", disk)
    return disk


class Caller:
    """Waits for one answer."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.exchange = Exchange(self, Head("POST", b"/", {}, -1), time.monotonic())

    def answered(self) -> None:
        self.told.set()

    @property
    def status(self) -> int:
        assert self.exchange.answer is not None
        return int(self.exchange.answer.split(b" ", 2)[1])


class Stage:
    """A plane with a package that demands records and the same one that does not."""

    def __init__(self, folder: Path) -> None:
        blobs = DirectoryBlobs(folder / "blobs")
        package = keep_classifier(blobs)
        self.lazy = load(package, blobs)
        self.strict = load(served_as(blobs, package, log="durable"), blobs)
        self.folder = folder / "log"
        self.writer = SegmentWriter(self.folder / "0-a", retry_after=0.05)
        self.counting = Counting(lambda: 600.0)
        self.plane = Plane(self.counting, PredictionLog(self.writer))
        self._asked = 0

    def ask(self, lane: Lane, rows: int = 1) -> Caller:
        caller = Caller()
        name = "strict.prod" if lane is self.strict else "lazy.prod"
        live = LiveTarget(name, "prod", 1, target("sha256:" + "0" * 64), lane)
        tally = self.counting.tally(name, "thyroid:1", "live", lane)
        self._asked += 1
        inputs = (np.zeros((rows, 4), np.float32),)
        self.plane.submit(Ask(caller.exchange, live, tally, "live", f"{self._asked:026d}", inputs, oip.write))
        return caller

    def logged(self) -> list[str]:
        self.writer.close()
        return [row.prediction_id for row in logged_in(self.folder)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.plane.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_an_answer_waits_for_its_record_and_nobody_elses_does(stage: Stage, disk: Disk) -> None:
    async def story() -> None:
        disk.free.clear()
        strict, lazy = stage.ask(stage.strict), stage.ask(stage.lazy)
        await lazy.told.wait()
        await asyncio.sleep(0.05)
        assert not strict.told.is_set()
        assert stage.plane.inflight == 1
        disk.free.set()
        await strict.told.wait()
        assert (strict.status, lazy.status) == (200, 200)

    run(story())
    assert len(stage.logged()) == 2


def test_everybody_who_comes_during_a_sync_shares_the_next(stage: Stage, disk: Disk) -> None:
    async def story() -> None:
        disk.free.clear()
        first = stage.ask(stage.strict)
        await asyncio.sleep(0.02)
        others = [stage.ask(stage.strict) for _ in range(50)]
        await asyncio.sleep(0.02)
        others += [stage.ask(stage.strict) for _ in range(50)]
        await asyncio.sleep(0.02)
        assert not first.told.is_set()
        disk.free.set()
        for caller in (first, *others):
            await caller.told.wait()
            assert caller.status == 200
        assert disk.syncs == 2

    run(story())
    assert len(stage.logged()) == 101


def test_a_failed_sync_refuses_those_it_was_for_and_the_next_ones_are_answered(stage: Stage, disk: Disk) -> None:
    async def story() -> None:
        disk.free.clear()
        disk.broken = True
        lost = [stage.ask(stage.strict)]
        await asyncio.sleep(0.02)
        # Written to the same segment while its sync is under way: nothing proves any more that they are on the disk.
        lost += [stage.ask(stage.strict) for _ in range(3)]
        await asyncio.sleep(0.02)
        disk.free.set()
        for caller in lost:
            await caller.told.wait()
            assert caller.status == 503
            assert b'"code":"not_recorded"' in (caller.exchange.answer or b"")
            assert b"retry-after: 1" in (caller.exchange.answer or b"")
        disk.broken = False
        # For a moment nothing is written; others are answered all the same.
        refused, lazy = stage.ask(stage.strict), stage.ask(stage.lazy)
        await refused.told.wait()
        await lazy.told.wait()
        assert (refused.status, lazy.status) == (503, 200)
        await asyncio.sleep(0.06)
        again = stage.ask(stage.strict)
        await again.told.wait()
        assert again.status == 200

    run(story())
    assert stage.plane.unrecorded == 5
    assert stage.writer.sync_failures == 1
    # The refused ones are in the log or not; the answered one is.
    assert f"{7:026d}" in stage.logged()
    tally = stage.counting.tallies["strict.prod", "thyroid:1", "live"]
    assert (tally.requests, tally.errors) == (6, {Failure.SHED: 5})


def test_a_log_without_room_refuses_those_who_demand_a_record_and_answers_the_others(stage: Stage, disk: Disk) -> None:
    async def story() -> None:
        stage.writer.room = 0
        strict, lazy = stage.ask(stage.strict), stage.ask(stage.lazy)
        await strict.told.wait()
        await lazy.told.wait()
        assert (strict.status, lazy.status) == (503, 200)
        stage.writer.room = 1 << 20
        again = stage.ask(stage.strict, rows=3)
        await again.told.wait()
        assert again.status == 200

    run(story())
    assert stage.writer.dropped == 2
    assert stage.logged() == [f"{3:026d}.{row}" for row in range(3)]
