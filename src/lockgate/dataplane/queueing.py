"""Requests that wait for a lane in another process: in bounded number, until their deadlines.

A call takes whatever came while the lane was busy, so batches grow with the load and cost no waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from lockgate.dataplane.batching import Ask, Outcome, batches, failed, joined, merged, split
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.refusal import Refused, overloaded, too_late

#: Requests that may wait for one lane; more is shed.
MOST_WAITING = 512
#: Of those, how many may be shadows.
MOST_SHADOWS = 64


class Queue:
    """Everything that waits for one lane. Used by the loop's thread alone."""

    def __init__(self, lane: Lane, landed: Callable[[list[Ask], Outcome], None]) -> None:
        self._lane = lane
        self._landed = landed
        self._waiting: deque[Ask] = deque()
        self._shadows: deque[Ask] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False

    @property
    def full(self) -> bool:
        """Whether another request would be shed."""
        return len(self._waiting) >= MOST_WAITING

    def put(self, ask: Ask) -> None:
        """Take a request; it lands soon, with a refusal when there is no room or no time."""
        if self.full:
            self._landed([ask], failed([overloaded(f"too many requests wait for {ask.target.endpoint}")]))
            return
        self._waiting.append(ask)
        self._wake()

    def offer(self, shadow: Ask) -> bool:
        """Take a request whose answer nobody waits for, if there is room."""
        if len(self._shadows) >= MOST_SHADOWS:
            return False
        self._shadows.append(shadow)
        self._wake()
        return True

    def _wake(self) -> None:
        if not self._scheduled and len(self._calls) < self._lane.slots:
            self._scheduled = True
            # What arrives in the same turn of the loop goes into the same call.
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        while len(self._calls) < self._lane.slots and (self._waiting or self._shadows):
            batch = self._next()
            if batch:
                task = loop.create_task(self._call(batch))
                self._calls.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if self._waiting or self._shadows:
            self._wake()

    def _next(self) -> list[Ask]:
        """The next batch, without those that nobody waits for any more."""
        queue = self._waiting or self._shadows
        now = time.monotonic()
        late = [ask for ask in queue if ask.deadline is not None and ask.deadline <= now]
        if late:
            self._landed(late, failed([too_late() for _ in late]))
        left = [ask for ask in queue if ask.deadline is None or ask.deadline > now]
        batch = next(batches(left), [])
        taken = set(map(id, batch))
        queue.clear()
        queue.extend(ask for ask in left if id(ask) not in taken)
        return batch

    async def _call(self, batch: list[Ask]) -> None:
        self._landed(batch, await self._ask(batch))

    async def _ask(self, batch: list[Ask]) -> Outcome:
        inputs = joined(batch)
        deadlines = [ask.deadline for ask in batch if ask.deadline is not None]
        try:
            # As long as the most patient of them waits: the others are not worse off than alone.
            whole = await self._lane.ask(inputs, max(deadlines) if len(deadlines) == len(batch) else None)
        except Refused as refused:
            if len(batch) == 1 or refused.status != 422:
                return failed([refused] * len(batch))
            return merged([await self._ask([ask]) for ask in batch])
        return split(batch, inputs, whole)
