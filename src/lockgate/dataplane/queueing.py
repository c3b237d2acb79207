"""Requests that wait for a lane which takes its time: in bounded number, the urgent ones first, until their deadlines.

A call takes whatever came while the lane was busy, so batches grow with the load and cost no waiting. Only a package
that asks for it (`Batching.wait`) has its calls wait for company.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from lockgate.dataplane.batching import SMALL, Ask, Outcome, failed, joined, merged, predict, split
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.limits import SHARES, Cost, Delay, Priority, Vegas
from lockgate.dataplane.refusal import PROCESS_ENDED, Refused, overloaded, too_late, unavailable
from lockgate.dataplane.telemetry.seen import answered_for
from lockgate.dataplane.threads import THREADS

#: Requests that may wait for one lane; more is shed, and of lower priorities earlier.
MOST_WAITING = 512
#: Of shadows, how many may wait beside them.
MOST_SHADOWS = 64
#: Requests looked at for company that may not join, such as those to another endpoint of the same package.
_LOOKED_AT = 64
#: Seconds that the rows which join a call may add to it: past that, those in it wait for each other and gain nothing.
_LONGEST_SHARED = 0.05
#: How often those are looked for whose deadlines pass.
_SWEEP_SECONDS = 0.02


class Queue:
    """Everything that waits for one lane. Used by the loop's thread alone."""

    def __init__(
        self,
        lane: Lane,
        landed: Callable[[list[Ask], Outcome], None],
        most_wait: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        pool: Executor | None = None,
    ) -> None:
        """``pool``: computes for a local lane, with its threads as slots."""
        self._pool = pool
        self._lane = lane
        self._clock = clock
        self._landed = landed
        self._waiting: dict[Priority, deque[Ask]] = {priority: deque() for priority in Priority}
        self._shadows: deque[Ask] = deque()
        self._calls: dict[asyncio.Task[None], list[Ask]] = {}
        #: Those of the calls under way who were told that it takes too long.
        self._told: set[Ask] = set()
        self._scheduled: asyncio.Handle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._delay = Delay(most_wait)
        self._stands = Vegas() if lane.shared else None
        self._cost = Cost()
        #: Requests, and their rows, that wait for a call.
        self.waiting = 0
        self._rows = 0

    @property
    def slots(self) -> int:
        """Calls that may be under way just now."""
        slots = THREADS if self._lane.local else self._lane.slots
        return slots if self._stands is None else min(slots, self._stands.limit)

    @property
    def under_way(self) -> int:
        """Calls under way just now."""
        return len(self._calls)

    def admits(self, now: float, priority: Priority) -> bool:
        """Whether there is room for another request; asked before it is read."""
        if self.waiting >= MOST_WAITING * SHARES[priority]:
            return False
        return self._delay.admits(now, self._wait(), self.waiting, priority, self._cost.call(1))

    def _wait(self) -> float:
        """Seconds that those who wait add to the answer of one that comes now: before its call, and to the call."""
        if not self.waiting:
            return 0.0
        if not self._lane.joins:
            return self.waiting * self._cost.call(self._rows / self.waiting) / self.slots
        most, each = self._most_rows(), self._each()
        calls, rest = divmod(self._rows, most)
        return calls * max(self._cost.call(most), most * each) / self.slots + rest * each

    def _each(self) -> float:
        """Seconds for each row more: as learnt of late, and never less than when the package was loaded."""
        return max(self._cost.each, self._lane.row_cost)

    def _most_rows(self) -> int:
        """Most rows of a shared call."""
        batching = self._lane.serving.batching
        each = self._each()
        if batching.asked or each <= 0:
            return batching.rows
        return max(1, min(batching.rows, int(_LONGEST_SHARED / each)))

    def put(self, ask: Ask) -> None:
        """Take a request; it lands soon, with a refusal when there is no room or no time."""
        if self.waiting >= MOST_WAITING * SHARES[_priority(ask)]:
            self._landed([ask], failed([overloaded(f"too many requests wait for {ask.target.endpoint}")]))
            return
        self._waiting[_priority(ask)].append(ask)
        self.waiting += 1
        self._rows += ask.rows
        self._wake()
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def offer(self, shadow: Ask) -> bool:
        """Take a request whose answer nobody waits for, if there is room."""
        if len(self._shadows) >= MOST_SHADOWS:
            return False
        self._shadows.append(shadow)
        self._wake()
        return True

    # --- when calls begin

    def _wake(self) -> None:
        if len(self._calls) >= self.slots or not (self.waiting or self._shadows):
            return
        loop = asyncio.get_running_loop()
        wait = self._company()
        if self._scheduled is not None:
            if wait or not isinstance(self._scheduled, asyncio.TimerHandle):
                return
            self._scheduled.cancel()
        # What arrives in the same turn of the loop goes into the same call, even if nothing waits any longer.
        self._scheduled = loop.call_later(wait, self._pump) if wait else loop.call_soon(self._pump)

    def _company(self) -> float:
        """Seconds to wait for more requests to share the next call with."""
        batching = self._lane.serving.batching
        if not batching.wait or not self.waiting or not self._lane.joins or self._rows >= batching.rows:
            return 0.0
        now = self._clock()
        oldest = min(queue[0].exchange.started for queue in self._waiting.values() if queue and queue[0].exchange)
        # Whoever has little time left is not made to spend it so.
        hurried = any(ask.deadline is not None and ask.deadline - now < 2 * batching.wait for ask in self._in_order())
        return 0.0 if hurried else max(0.0, oldest + batching.wait - now)

    def _pump(self) -> None:
        self._scheduled = None
        loop = asyncio.get_running_loop()
        while len(self._calls) < self.slots and (self.waiting or self._shadows):
            batch = self._next()
            if batch:
                task = loop.create_task(self._call(batch))
                self._calls[task] = batch
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._calls[task]
        self._wake()

    # --- what goes into a call

    def _in_order(self) -> Iterator[Ask]:
        for queue in self._waiting.values():
            yield from queue

    def _next(self) -> list[Ask]:
        """The next batch: the first in line, and those behind it that may share its call."""
        if not self.waiting:
            return self._taken(self._shadows, [])
        batch: list[Ask] = []
        for queue in self._waiting.values():
            # A call with room takes those of lower priorities along, or a few urgent ones could starve all others.
            self._taken(queue, batch)
        return batch

    def _taken(self, queue: deque[Ask], batch: list[Ask]) -> list[Ask]:
        """Move what may join from a queue to the batch; what nobody waits for any more lands."""
        now = self._clock()
        most = self._most_rows()
        rows = sum(ask.rows for ask in batch)
        passed: list[Ask] = []
        while queue and len(passed) < _LOOKED_AT:
            if batch and (rows >= most or not self._lane.joins or batch[0].rows > SMALL):
                break
            ask = queue.popleft()
            if _late(ask, now):
                self._left(ask)
                self._landed_late([ask])
            elif batch and not _alike(batch[0], ask):
                passed.append(ask)
            else:
                batch.append(ask)
                rows += ask.rows
                self._left(ask)
        queue.extendleft(reversed(passed))
        return batch

    def _left(self, ask: Ask) -> None:
        if ask.exchange is not None:
            self.waiting -= 1
            self._rows -= ask.rows

    # --- calls

    async def _call(self, batch: list[Ask]) -> None:
        start = self._clock()
        answered_for(ask.exchange for ask in batch)
        try:
            outcome = await self._ask(batch)
        except Exception as error:
            # A fault of ours must not leave its callers without an answer.
            say("a fault in a lane", model=self._lane.manifest.model, error=repr(error))
            outcome = failed([unavailable("a fault in the gateway; its log says more")] * len(batch))
        outcome.began, outcome.ended = start, self._clock()
        self._measure(outcome.ended, start, sum(ask.rows for ask in batch), outcome)
        self._land(batch, outcome)

    async def _ask(self, batch: list[Ask], *, again: bool = True) -> Outcome:
        """``again``: those whose process ended are asked once more."""
        if self._lane.local:
            return await asyncio.get_running_loop().run_in_executor(self._pool, predict, batch)
        deadlines = [ask.deadline for ask in batch if ask.deadline is not None]
        # As long as the most patient of them waits; the others are told in time by `_sweep`.
        deadline = max(deadlines) if deadlines else self._clock() + self._lane.serving.timeout
        try:
            inputs = joined(batch)
            whole = await self._lane.ask_once(inputs, deadline)
        except Refused as refused:
            if again and refused.code == PROCESS_ENDED:
                # A prediction changes nothing, so asking again is safe; each alone, for one of them may have ended it.
                self._lane.retries += len(batch)
                return merged([await self._ask([ask], again=False) for ask in batch])
            if len(batch) == 1 or refused.status not in (400, 422):
                return failed([refused] * len(batch))
            # One of them is poison: halves tell which in few calls.
            middle = len(batch) // 2
            halves = (batch[:middle], batch[middle:])
            return merged([await self._ask(half, again=again) for half in halves])
        return split(batch, inputs, whole)

    def _land(self, batch: list[Ask], outcome: Outcome) -> None:
        left = [place for place, ask in enumerate(batch) if ask not in self._told]
        if len(left) < len(batch):
            self._told.difference_update(batch)
            whole = outcome
            outcome = Outcome([whole.answers[at] for at in left], [whole.refusals[at] for at in left])
            outcome.began, outcome.ended = whole.began, whole.ended
            batch = [batch[at] for at in left]
        if batch:
            self._landed(batch, outcome)

    def _sweep(self) -> None:
        """Tell those whose deadlines passed, also in the middle of a call, and see whether another call may begin."""
        self._sweeping = None
        now = self._clock()
        for queue in self._waiting.values():
            if late := [ask for ask in queue if _late(ask, now)]:
                gone = set(late)
                kept = [ask for ask in queue if ask not in gone]
                queue.clear()
                queue.extend(kept)
                for ask in late:
                    self._left(ask)
                self._landed_late(late)
        for batch in self._calls.values():
            late = [ask for ask in batch if ask not in self._told and _late(ask, now)]
            self._told.update(late)
            self._landed_late(late)
        if self.waiting or self._calls:
            self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
            self._wake()

    def _landed_late(self, late: list[Ask]) -> None:
        # One by one: they may be of several versions, and each counts for its own.
        for ask in late:
            self._landed([ask], failed([too_late()]))

    def _measure(self, now: float, start: float, rows: int, outcome: Outcome) -> None:
        taken = now - start
        self._cost.learn(rows, taken)
        self._delay.settled(self._wait(), self._cost.call(1))
        if self._stands is not None:
            failing = any(refused is not None and refused.status in (429, 503, 504) for refused in outcome.refusals)
            self._stands.ended(now, taken, len(self._calls), failed=failing)


def _priority(ask: Ask) -> Priority:
    return Priority.NORMAL if ask.exchange is None else ask.exchange.priority


def _late(ask: Ask, now: float) -> bool:
    return ask.deadline is not None and ask.deadline <= now


def _alike(first: Ask, ask: Ask) -> bool:
    """Whether both may be answered by one call: of one version and role on one endpoint, and not large."""
    return ask.target is first.target and ask.role == first.role and ask.rows <= SMALL
