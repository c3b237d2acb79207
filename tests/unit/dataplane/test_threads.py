from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane import oip
from lockgate.dataplane.batching import Ask, Outcome
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.queueing import Queue
from lockgate.dataplane.routing import LiveTarget
from lockgate.dataplane.threads import THREADS, Threads
from tests.serving import keep_classifier, target


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(0.1)
    yield threads
    threads.close()


class Caller:
    def answered(self) -> None:
        return


def ask(lane: Lane, deadline: float, value: float = 0.5) -> Ask:
    exchange = Exchange(Caller(), Head("POST", b"/", {}, -1), time.monotonic())
    exchange.deadline = deadline
    live = LiveTarget("thyroid.prod", "prod", 1, target("sha256:" + "0" * 64), lane)
    tally = Counting(lambda: 0.0).tally("thyroid.prod", "thyroid:1", "live", lane)
    return Ask(exchange, live, tally, "live", "01a", (np.full((1, 4), value, np.float32),), oip.write)


async def computed(threads: Threads, batch: list[Ask]) -> Outcome:
    landed: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    threads.start(batch, 0.5, lambda _, outcome: landed.set_result(outcome))
    assert threads.waiting == len(batch)
    assert threads.seconds == 0.5 / THREADS
    return await landed


def codes(outcome: Outcome) -> list[str]:
    return ["" if refused is None else refused.code for refused in outcome.refusals]


def test_who_waits_no_longer_when_a_thread_is_free_gets_no_prediction_and_the_others_get_theirs(
    forest: Lane, threads: Threads
) -> None:
    now = time.monotonic()
    batch = [ask(forest, now + 30, 0.1), ask(forest, now - 1), ask(forest, now + 30, 0.9), ask(forest, now - 1)]
    outcome = asyncio.run(computed(threads, batch))
    assert codes(outcome) == ["", "deadline_exceeded", "", "deadline_exceeded"]
    for one, answer in zip(batch, outcome.answers, strict=True):
        if answer is not None:
            assert answer.scores.tobytes() == forest.predict(one.inputs).scores.tobytes()
    assert [answer is None for answer in outcome.answers] == [False, True, False, True]
    assert (threads.waiting, threads.seconds) == (0, 0.0)


def test_when_nobody_waits_any_longer_nothing_is_computed(forest: Lane, threads: Threads) -> None:
    outcome = asyncio.run(computed(threads, [ask(forest, 0.0), ask(forest, 0.0)]))
    assert codes(outcome) == ["deadline_exceeded"] * 2


class Slow(Lane):
    """A real package that computes here and takes its time."""

    def __init__(self, real: Lane) -> None:
        super().__init__(real.manifest, real.baseline, real.intake)
        self.joins = True
        self.call_cost = 0.02
        self.calls: list[int] = []
        self._real = real

    def check(self) -> None:
        self._real.check()

    def predict(self, inputs: Inputs) -> Answer:
        self.calls.append(len(inputs[0]))
        time.sleep(0.05)
        return self._real.predict(inputs)

    def close(self) -> None:
        self._real.close()


def test_requests_to_a_slow_package_share_the_call_that_begins_when_a_thread_is_free(
    forest: Lane, threads: Threads
) -> None:
    lane = Slow(forest)
    answered: dict[float, Answer | None] = {}

    def landed(batch: list[Ask], outcome: Outcome) -> None:
        for one, answer in zip(batch, outcome.answers, strict=True):
            answered[float(one.inputs[0][0, 0])] = answer

    async def work() -> None:
        queue = Queue(lane, landed, pool=threads.pool)
        live = ask(lane, 0.0).target
        for place, value in enumerate((0.1, 0.2, 0.3, 0.4, 0.5, 0.6)):
            one = ask(lane, time.monotonic() + 30, value)
            one.target = live
            queue.put(one)
            if place < THREADS:
                await asyncio.sleep(0.01)
        while len(answered) < 6:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(work(), 20))
    assert lane.calls == [1, 1, 4]
    for value, answer in answered.items():
        assert answer is not None
        alone = forest.predict((np.full((1, 4), value, np.float32),))
        assert answer.scores.tobytes() == alone.scores.tobytes()
