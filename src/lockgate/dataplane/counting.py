"""What was asked and answered, by reference until a fold turns it into counts.

The hot path only appends to lists. `Counting.fold` makes profiles of them in blocks of rows, and the numbers of
``/metrics`` at the same time, so that watching costs the same however requests were cut into batches. The rows of a
large block are counted in a thread, and requests that arrive meanwhile do not wait for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane, join
from lockgate.dataplane.telemetry.totals import Totals
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.profile import Profile
from lockgate.ports import ProfileRow

#: Rows that wait before they are folded; small enough that a fold does not hold up the loop.
BLOCK = 512
#: Rows x features from which on a block is counted aside: a fraction of a millisecond.
LARGE = 16_384
#: Blocks that wait for the thread; with more, the loop counts for itself, and takes requests the more slowly.
_MOST_ASIDE = 8
#: Seconds after which a large block is counted even though no model computes beside which that could go on.
_IDLE = 0.002
#: Minutes x versions kept while the control plane is away; the oldest go first.
MOST_KEPT = 5_000

Key = tuple[int, str, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Rows that were answered, not counted yet."""

    lane: Lane
    inputs: list[Inputs]
    answers: list[Answer]
    rows: int

    @property
    def large(self) -> bool:
        """Whether counting it would hold up the loop."""
        return self.rows * len(self.lane.baseline.features) >= LARGE

    def fold_into(self, profile: Profile) -> Profile:
        """Count its values; the profile itself is given back."""
        lane = self.lane
        inputs = join(self.inputs) if len(self.inputs) > 1 else self.inputs[0]
        scores = np.concatenate([lane.leading(answer) for answer in self.answers])
        labels: list[Any] = [label for answer in self.answers for label in answer.labels or ()]
        profile.fold(lane.counted(inputs), scores, np.array(labels, dtype=np.object_) if labels else None)
        return profile


class Tally:
    """One version on one endpoint in one role, since the last fold."""

    __slots__ = (
        "answers",
        "calls",
        "endpoint",
        "errors",
        "inputs",
        "lane",
        "latencies",
        "requests",
        "role",
        "rows",
        "succeeded",
        "total",
        "version",
        "waiting",
    )

    def __init__(self, endpoint: str, version: str, role: str, lane: Lane) -> None:
        self.endpoint = endpoint
        self.version = version
        self.role = role
        self.lane = lane
        self.inputs: list[Inputs] = []
        self.answers: list[Answer] = []
        #: Rows in the two lists.
        self.waiting = 0
        self.requests = 0
        self.rows = 0
        self.errors: dict[str, int] = {}
        self.latencies: list[float] = []
        #: Calls of the model, four numbers each: see there.
        self.calls: list[float] = []
        #: Callers who got their prediction, by protocol, and refusals by HTTP status and protocol.
        self.succeeded: defaultdict[str, int] = defaultdict(int)
        self.total: dict[tuple[int, str], int] = {}

    def answered(self, inputs: Inputs, answer: Answer, requests: int = 1) -> None:
        """The rows of some requests, and what they were answered with."""
        rows = len(answer.scores)
        self.inputs.append(inputs)
        self.answers.append(answer)
        self.waiting += rows
        self.requests += requests
        self.rows += rows

    def failed(self, kind: str, status: int, rows: int = 0, protocol: str = "") -> None:
        """A request that got no prediction, by the kind of `Failure`."""
        self.requests += 1
        self.rows += rows
        self.errors[kind] = self.errors.get(kind, 0) + 1
        self.total[status, protocol] = self.total.get((status, protocol), 0) + 1

    def withheld(self, kind: str, status: int, protocol: str) -> None:
        """One that was `answered`, but whose answer cannot be given after all."""
        self.errors[kind] = self.errors.get(kind, 0) + 1
        self.total[status, protocol] = self.total.get((status, protocol), 0) + 1

    @property
    def idle(self) -> bool:
        """Whether nothing came since the last fold."""
        return not (self.requests or self.waiting or self.latencies or self.succeeded or self.total)

    def take_rows(self) -> Block | None:
        """The rows that wait; whoever takes them sees to their being counted."""
        if not self.waiting:
            return None
        block = Block(lane=self.lane, inputs=self.inputs, answers=self.answers, rows=self.waiting)
        self.inputs, self.answers, self.waiting = [], [], 0
        return block

    def drain_into(self, profile: Profile, totals: Totals, now: float) -> None:
        """Count what came, but for the values of the rows."""
        latencies = np.array(self.latencies)
        profile.count(requests=self.requests, rows=self.rows, errors=self.errors, latencies_us=latencies * 1e6)
        totals.add(
            (self.endpoint, self.version, self.role),
            now,
            answers={**{(200, protocol): count for protocol, count in self.succeeded.items()}, **self.total},
            failures=self.errors,
            rows=self.rows,
            seconds=latencies,
            calls=self.calls,
        )
        self.succeeded.clear()
        self.total = {}
        self.calls = []
        self.requests = self.rows = 0
        self.errors = {}
        self.latencies = []


class Counting:
    """All tallies of a worker, and the deltas that wait to be pushed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minute = int(clock() // 60)
        self.tallies: dict[tuple[str, str, str], Tally] = {}
        self._deltas: dict[Key, Profile] = {}
        #: None once closed.
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "counting")
        #: Large blocks that wait for a moment in which the loop needs no interpreter.
        self._held: list[tuple[Key, Block]] = []
        #: Blocks that the thread counts, each into a profile of its own, and where that is added.
        self._aside: dict[Future[Profile], Key] = {}
        #: What /metrics shows; never taken away.
        self.totals = Totals()
        #: Deltas given up because nobody took them for too long.
        self.dropped = 0

    def tally(self, endpoint: str, version: str, role: str, lane: Lane) -> Tally:
        """Where to count; the same object for the same names while the package is the same."""
        key = (endpoint, version, role)
        found = self.tallies.get(key)
        if found is None or found.lane is not lane:
            if found is not None:
                self._fold(found)
            found = self.tallies[key] = Tally(endpoint, version, role, lane)
        return found

    def settle(self, tally: Tally) -> None:
        """Fold a tally of which enough rows wait, or everything when a new minute has begun."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self.fold()
        # One that was forgotten while a request of its was under way is folded by nobody else.
        if tally.waiting >= BLOCK or self.tallies.get((tally.endpoint, tally.version, tally.role)) is not tally:
            self._fold(tally)

    def fold(self) -> None:
        """Fold all that waits; large blocks may be counted only after this returns."""
        for tally in self.tallies.values():
            if not tally.idle:
                self._fold(tally)
        self._minute = int(self._clock() // 60)

    def drain(self) -> None:
        """Fold all that waits, and wait for what is counted aside: nothing is missing from the next `take`."""
        self.fold()
        self.release()
        for done in list(self._aside):
            self._add(done)

    def close(self) -> None:
        """The same, and end the thread; what comes later is counted at once."""
        self.drain()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def forget(self, loaded: Collection[Lane]) -> None:
        """Fold and drop what counts for other packages than these, so that the others can be let go.

        A block of theirs that is counted aside is added all the same, when it is done.
        """
        for key, tally in list(self.tallies.items()):
            if tally.lane not in loaded:
                if not tally.idle:
                    self._fold(tally)
                del self.tallies[key]

    def release(self) -> None:
        """Have large blocks counted now: the loop is about to compute without the interpreter, or has nothing to do.

        At any other moment the thread would take turns with the loop, and hold up the request that is being read.
        """
        held, self._held = self._held, []
        for key, block in held:
            self._count_aside(key, block)

    def take(self) -> list[ProfileRow]:
        """The deltas since the last call; whoever takes them sees to their delivery.

        A block that is still counted aside comes with a later call, under the minute in which it was folded.
        """
        deltas, self._deltas = self._deltas, {}
        return [
            ProfileRow(minute=minute, endpoint=endpoint, version=version, role=role, data=profile.encode())
            for (minute, endpoint, version, role), profile in deltas.items()
        ]

    def _fold(self, tally: Tally) -> None:
        key = (self._minute, tally.endpoint, tally.version, tally.role)
        block = tally.take_rows()
        if block is not None and not self._hand_over(key, block):
            block.fold_into(self._delta(key, tally.lane.baseline))
        tally.drain_into(self._delta(key, tally.lane.baseline), self.totals, self._clock())

    def _delta(self, key: Key, baseline: Baseline) -> Profile:
        profile = self._deltas.get(key)
        if profile is not None and profile.baseline.key != baseline.key:
            # The same version never has two baselines; a row under a name that was reused would spoil both.
            self.dropped += 1
            profile = None
        if profile is None:
            profile = self._deltas[key] = Profile.empty(baseline)
            while len(self._deltas) > MOST_KEPT:
                del self._deltas[next(iter(self._deltas))]
                self.dropped += 1
        return profile

    def _hand_over(self, key: Key, block: Block) -> bool:
        """Have a large block counted by the thread; False when it is to be counted here."""
        if self._thread is None or not block.large or len(self._aside) + len(self._held) >= _MOST_ASIDE:
            return False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False  # nobody waits who could be held up, and nobody would be told when it is done
        if not self._held:
            loop.call_later(_IDLE, self.release)
        self._held.append((key, block))
        return True

    def _count_aside(self, key: Key, block: Block) -> None:
        if self._thread is None:
            block.fold_into(self._delta(key, block.lane.baseline))
            return
        loop = asyncio.get_running_loop()
        done = self._thread.submit(block.fold_into, Profile.empty(block.lane.baseline))
        self._aside[done] = key

        def tell(done: Future[Profile]) -> None:
            # A loop that has ended takes no calls; `drain` finds what is done without it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._add, done)

        done.add_done_callback(tell)

    def _add(self, done: Future[Profile]) -> None:
        """Add what the thread counted, as soon as it has; once."""
        key = self._aside.pop(done, None)
        if key is not None:
            counted = done.result()
            self._deltas[key] = self._delta(key, counted.baseline).merge(counted)
