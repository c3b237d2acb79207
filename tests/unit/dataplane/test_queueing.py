from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane import oip
from lockgate.dataplane.batching import SMALL, Ask, Outcome
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.limits import Priority
from lockgate.dataplane.loading import load
from lockgate.dataplane.queueing import MOST_SHADOWS, MOST_WAITING, Queue
from lockgate.dataplane.refusal import Refused, process_ended, unavailable
from lockgate.dataplane.routing import LiveTarget
from lockgate.domain.registry.serving import Batching, Serving
from tests.serving import keep_classifier, target

#: How often a queue looks for those whose time is over; nobody hears of it later than that.
SWEEP = 0.02


class _Jump(selectors.SelectSelector):
    """Waits by moving the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class Simulated(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


class Distant(Lane):
    """A lane elsewhere: a real package that takes its time, chokes on rows that begin with a 13, and dies of a 17."""

    local = False

    def __init__(self, real: Lane, *, seconds: float = 0.01, slots: int = 1, batching: Batching | None = None) -> None:
        super().__init__(real.manifest, real.baseline, real.intake)
        self.slots = slots
        self.joins = True
        self.serving = Serving(batching=batching or Batching())
        self.calls: list[int] = []
        self._real = real
        self._seconds = seconds
        self.under_way = self.most_under_way = 0
        self.down = False

    def check(self) -> None:
        self._real.check()

    async def ask(self, inputs: Inputs, deadline: float | None) -> Answer:
        self.calls.append(len(inputs[0]))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self._seconds)
        self.under_way -= 1
        if self.down:
            raise unavailable("it is down")
        if (inputs[0][:, 0] == 17).any():
            raise process_ended("its process ended")
        if (inputs[0][:, 0] == 13).any():
            raise Refused(422, "model_error", "the model failed on these values")
        return self._real.predict(inputs)

    def close(self) -> None:
        self._real.close()


@dataclass
class Landed:
    """When and how each request landed."""

    clock: Callable[[], float]
    at: dict[str, float] = field(default_factory=dict[str, float])
    answers: dict[str, Answer | None] = field(default_factory=dict[str, Answer | None])
    refused: dict[str, Refused | None] = field(default_factory=dict[str, Refused | None])
    batches: list[list[Ask]] = field(default_factory=list[list[Ask]])

    def __call__(self, batch: list[Ask], outcome: Outcome) -> None:
        self.batches.append(batch)
        for ask, answer, refused in zip(batch, outcome.answers, outcome.refusals, strict=True):
            assert ask.prediction_id not in self.at, "it landed before"
            assert (answer is None) != (refused is None)
            self.at[ask.prediction_id] = self.clock()
            self.answers[ask.prediction_id] = answer
            self.refused[ask.prediction_id] = refused

    def code(self, name: str) -> str:
        refused = self.refused[name]
        return "" if refused is None else refused.code


class Caller:
    def answered(self) -> None:
        return


class Bench:
    """A queue in simulated time."""

    def __init__(self, lane: Distant) -> None:
        self.loop = Simulated()
        self.lane = lane
        self.landed = Landed(self.loop.time)
        self.queue = Queue(lane, self.landed, clock=self.loop.time)
        package = "sha256:" + "0" * 64
        self.targets = [LiveTarget(f"m{at}.prod", "prod", 1, target(package), lane) for at in range(3)]
        self.counting = Counting(lambda: 0.0)
        self.made: dict[str, Ask] = {}

    def ask(
        self,
        name: str,
        rows: Any = 1,
        *,
        seconds: float = 30.0,
        priority: Priority = Priority.NORMAL,
        place: int = 0,
        role: str = "live",
    ) -> Ask:
        exchange = Exchange(Caller(), Head("POST", b"/", {}, -1), self.loop.time())
        exchange.deadline = exchange.started + seconds
        exchange.priority = priority
        live = self.targets[place]
        tally = self.counting.tally(live.endpoint, live.version, role, self.lane)
        block = np.full((rows, 4), 0.5, np.float32) if isinstance(rows, int) else rows
        self.made[name] = ask = Ask(exchange, live, tally, role, name, (block,), oip.write)
        return ask

    def put(self, name: str, rows: Any = 1, **more: Any) -> None:
        self.queue.put(self.ask(name, rows, **more))

    def run(self, work: Any) -> None:
        async def whole() -> None:
            await work()
            while len(self.landed.at) < len(self.made):
                await asyncio.sleep(0.01)

        self.loop.run_until_complete(asyncio.wait_for(whole(), 1000))
        self.loop.close()


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "pause": st.sampled_from([0.0, 0.0, 0.001, 0.03]),
            "rows": st.sampled_from([1, 1, 2, 30, SMALL, SMALL + 1]),
            "seconds": st.sampled_from([0.005, 0.03, 0.2, 30.0]),
            "priority": st.sampled_from(Priority),
            "place": st.integers(0, 2),
            "role": st.sampled_from(["live", "live", "pinned"]),
            "poison": st.sampled_from([False, False, False, True]),
        }
    ),
    max_size=60,
)


@given(
    requests=REQUESTS,
    slots=st.integers(1, 3),
    rows=st.sampled_from([1, 8, 256]),
    wait=st.sampled_from([0.0, 0.0, 0.01]),
)
def test_every_request_lands_once_in_time_with_its_own_answer(
    forest: Lane, requests: list[dict[str, Any]], slots: int, rows: int, wait: float
) -> None:
    lane = Distant(forest, seconds=0.02, slots=slots, batching=Batching(rows=rows, wait=wait))
    bench = Bench(lane)
    chance = np.random.default_rng(1)

    async def work() -> None:
        for number, request in enumerate(requests):
            await asyncio.sleep(request["pause"])
            block = chance.random((request["rows"], 4)).astype(np.float32)
            if request["poison"]:
                block[0, 0] = 13
            keep = {name: request[name] for name in ("seconds", "priority", "place", "role")}
            bench.put(str(number), block, **keep)

    bench.run(work)
    for name, request in zip(bench.made, requests, strict=True):
        ask, answer = bench.made[name], bench.landed.answers[name]
        assert ask.deadline is not None
        assert bench.landed.at[name] <= ask.deadline + SWEEP + 1e-9
        if bench.landed.code(name) == "deadline_exceeded":
            assert bench.landed.at[name] >= ask.deadline
        elif request["poison"]:
            assert bench.landed.code(name) == "model_error"
        else:
            alone = forest.predict(ask.inputs)
            assert answer is not None
            assert answer.scores.tobytes() == alone.scores.tobytes()
            assert answer.labels == alone.labels
    for batch in bench.landed.batches:
        assert len({(ask.target, ask.role) for ask in batch}) == 1
        assert len(batch) == 1 or all(ask.rows <= SMALL for ask in batch)
    assert lane.most_under_way <= slots
    assert bench.queue.waiting == 0


def test_what_came_while_the_lane_was_busy_goes_into_the_next_call(forest: Lane) -> None:
    bench = Bench(Distant(forest))

    async def work() -> None:
        bench.put("first")
        await asyncio.sleep(0.005)
        for name in "abcde":
            bench.put(name)

    bench.run(work)
    assert bench.lane.calls == [1, 5]


def test_within_a_priority_the_order_is_kept_and_the_urgent_go_first(forest: Lane) -> None:
    bench = Bench(Distant(forest, batching=Batching(rows=1)))

    async def work() -> None:
        bench.put("first")
        await asyncio.sleep(0.005)
        bench.put("b1", priority=Priority.BATCH)
        bench.put("n1")
        bench.put("n2")
        bench.put("c1", priority=Priority.CRITICAL)
        bench.put("b2", priority=Priority.BATCH)
        bench.put("c2", priority=Priority.CRITICAL)

    bench.run(work)
    assert list(bench.landed.at) == ["first", "c1", "c2", "n1", "n2", "b1", "b2"]


def test_urgent_requests_take_the_others_along_rather_than_starve_them(forest: Lane) -> None:
    bench = Bench(Distant(forest))

    async def work() -> None:
        bench.put("late", priority=Priority.BATCH)
        for number in range(20):
            bench.put(f"c{number}", priority=Priority.CRITICAL)
            await asyncio.sleep(0.005)

    bench.run(work)
    assert list(bench.landed.at)[:2] == ["c0", "late"]


def test_a_caller_hears_in_time_that_a_call_takes_too_long(forest: Lane) -> None:
    bench = Bench(Distant(forest, seconds=5.0))

    async def work() -> None:
        bench.put("patient")
        bench.put("hurried", seconds=0.1)
        await asyncio.sleep(1.0)
        bench.put("behind", seconds=0.1)

    bench.run(work)
    assert bench.landed.code("hurried") == bench.landed.code("behind") == "deadline_exceeded"
    assert bench.landed.at["hurried"] == pytest.approx(0.1, abs=SWEEP)
    assert bench.landed.at["behind"] == pytest.approx(1.1, abs=SWEEP)
    assert bench.landed.answers["patient"] is not None
    assert bench.lane.calls == [2]


def test_a_call_waits_for_company_only_where_the_package_asks_for_it(forest: Lane) -> None:
    bench = Bench(Distant(forest, batching=Batching(rows=4, wait=0.05)))

    async def work() -> None:
        bench.put("a")
        await asyncio.sleep(0.02)
        bench.put("b")
        await asyncio.sleep(0.1)
        for name in "cdef":
            bench.put(name)
        await asyncio.sleep(0.1)
        bench.put("hurried", seconds=0.08)

    bench.run(work)
    assert bench.lane.calls == [2, 4, 1]
    assert bench.landed.at["a"] == pytest.approx(0.06)
    assert bench.landed.at["c"] == pytest.approx(0.13)
    assert bench.landed.at["hurried"] == pytest.approx(0.23)


def test_one_poisoned_request_among_many_costs_few_calls(forest: Lane) -> None:
    bench = Bench(Distant(forest))

    async def work() -> None:
        for number in range(64):
            bench.put(str(number), np.full((1, 4), 13.0 if number == 41 else 0.5, np.float32))

    bench.run(work)
    assert [name for name in bench.made if bench.landed.code(name)] == ["41"]
    assert len(bench.lane.calls) <= 13


def test_a_request_that_ends_the_process_takes_no_other_along(forest: Lane) -> None:
    bench = Bench(Distant(forest))

    async def work() -> None:
        for number in range(10):
            bench.put(str(number), np.full((1, 4), {4: 17.0, 6: 13.0}.get(number, 0.5), np.float32))

    bench.run(work)
    refused = {name: bench.landed.code(name) for name in bench.made if bench.landed.code(name)}
    assert refused == {"4": "process_ended", "6": "model_error"}
    assert bench.lane.calls == [10, *[1] * 10]
    assert bench.lane.retries == 10


def test_a_lane_that_is_down_is_not_asked_once_more_for_each_of_a_batch(forest: Lane) -> None:
    bench = Bench(Distant(forest))
    bench.lane.down = True

    async def work() -> None:
        for number in range(10):
            bench.put(str(number))

    bench.run(work)
    assert {bench.landed.code(name) for name in bench.made} == {"unavailable"}
    assert bench.lane.calls == [10]


def test_no_more_wait_than_there_is_room_for_and_batch_requests_are_shed_first(forest: Lane) -> None:
    bench = Bench(Distant(forest, batching=Batching(rows=64)))

    async def work() -> None:
        room: dict[Priority, int] = {}
        for number in range(MOST_WAITING + 10):
            for priority in Priority:
                if not bench.queue.admits(0.0, priority):
                    room.setdefault(priority, number)
            bench.put(str(number))
        assert room[Priority.BATCH] < room[Priority.NORMAL] == MOST_WAITING
        assert Priority.CRITICAL not in room

    bench.run(work)
    codes = [bench.landed.code(name) for name in bench.made]
    assert codes.count("overloaded") == 10
    assert codes.count("") == MOST_WAITING


class Costly(Distant):
    """So much a call, and so much a row."""

    def __init__(self, real: Lane, call: float, each: float, *, joins: bool, slots: int) -> None:
        super().__init__(real, slots=slots)
        self.joins = joins
        self._call, self._each = call, each

    async def ask(self, inputs: Inputs, deadline: float | None) -> Answer:
        rows = len(inputs[0])
        await asyncio.sleep(self._call + self._each * rows)
        return Answer(np.zeros((rows, 2), np.float32), ["well"] * rows)


@pytest.mark.parametrize(
    ("call", "each", "joins", "slots"), [(0.001, 0.0002, True, 1), (0.0005, 0.0005, True, 2), (0.01, 0.0, False, 1)]
)
def test_ten_times_too_many_requests_cost_neither_throughput_nor_the_time_of_those_let_in(
    forest: Lane, call: float, each: float, joins: bool, slots: int
) -> None:
    bench = Bench(Costly(forest, call, each, joins=joins, slots=slots))
    most = 256 if joins else 1
    peak = slots * most / (call + each * most)
    seconds = 4000 / peak if joins else 6.0

    async def load(times: float) -> tuple[float, float]:
        """Requests by chance, ``times`` the peak; of the second half, the share of the peak answered, and p99."""
        chance = np.random.default_rng(3)
        at = begin = bench.loop.time()
        taken: list[str] = []
        while (at := at + chance.exponential(1 / (peak * times))) < begin + seconds:
            await asyncio.sleep(at - bench.loop.time())
            if bench.queue.admits(at, Priority.NORMAL):
                name = str(len(bench.made))
                bench.put(name)
                if at > begin + seconds / 2:
                    taken.append(name)
        await asyncio.sleep(1.0)
        latencies = [bench.landed.at[name] - _started(bench.made[name]) for name in taken]
        assert all(bench.landed.answers[name] is not None for name in taken)
        return len(taken) / (seconds / 2) / peak, float(np.percentile(latencies, 99))

    async def work() -> None:
        _, calm = await load(0.7)
        goodput, crowded = await load(10)
        after, again = await load(0.7)
        assert goodput >= 0.9
        assert crowded <= 2.2 * calm
        assert again <= 1.3 * calm
        assert after >= 0.6

    bench.run(work)


def _started(ask: Ask) -> float:
    return 0.0 if ask.exchange is None else ask.exchange.started


def test_shadows_have_their_own_room_and_wait_for_everybody_else(forest: Lane) -> None:
    bench = Bench(Distant(forest, batching=Batching(rows=1)))

    async def work() -> None:
        bench.put("first")
        await asyncio.sleep(0.005)
        taken = 0
        for number in range(MOST_SHADOWS + 5):
            ask = bench.ask(f"s{number}")
            ask.exchange = None
            if bench.queue.offer(ask):
                taken += 1
            else:
                del bench.made[f"s{number}"]
        assert taken == MOST_SHADOWS
        bench.put("second")

    bench.run(work)
    assert list(bench.landed.at)[:3] == ["first", "second", "s0"]


def test_more_slots_are_used_as_soon_as_there_are_any(forest: Lane) -> None:
    bench = Bench(Distant(forest, seconds=1.0, batching=Batching(rows=1)))

    async def work() -> None:
        for number in range(4):
            bench.put(str(number))
        await asyncio.sleep(0.1)
        bench.lane.slots = 4

    bench.run(work)
    assert bench.lane.most_under_way == 4
    assert max(bench.landed.at.values()) < 1.2
