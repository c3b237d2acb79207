"""What was asked and answered, by reference until a fold turns it into counts.

The hot path only appends to lists. `Counting.fold` makes profiles of them in blocks of rows, and the numbers of
``/metrics`` at the same time, so that watching costs the same however requests were cut into batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane, join
from lockgate.dataplane.telemetry.totals import Totals
from lockgate.domain.monitoring.profile import Profile
from lockgate.ports import ProfileRow

#: Rows that wait before they are folded; small enough that a fold does not hold up the loop.
BLOCK = 512
#: Minutes x versions kept while the control plane is away; the oldest go first.
MOST_KEPT = 5_000

Key = tuple[int, str, str, str]


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

    def drain_into(self, profile: Profile, totals: Totals, now: float) -> None:
        """Count what waits."""
        if self.waiting:
            inputs = join(self.inputs) if len(self.inputs) > 1 else self.inputs[0]
            lane = self.lane
            scores = np.concatenate([lane.leading(answer) for answer in self.answers])
            labels: list[Any] = [label for answer in self.answers for label in answer.labels or ()]
            profile.fold(lane.intake.watched(inputs), scores, np.array(labels) if labels else None)
            self.inputs, self.answers, self.waiting = [], [], 0
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
        """Fold all that waits."""
        for tally in self.tallies.values():
            if not tally.idle:
                self._fold(tally)
        self._minute = int(self._clock() // 60)

    def forget(self, loaded: Collection[Lane]) -> None:
        """Fold and drop what counts for other packages than these, so that the others can be let go."""
        for key, tally in list(self.tallies.items()):
            if tally.lane not in loaded:
                if not tally.idle:
                    self._fold(tally)
                del self.tallies[key]

    def take(self) -> list[ProfileRow]:
        """The deltas since the last call; whoever takes them sees to their delivery."""
        deltas, self._deltas = self._deltas, {}
        return [
            ProfileRow(minute=minute, endpoint=endpoint, version=version, role=role, data=profile.encode())
            for (minute, endpoint, version, role), profile in deltas.items()
        ]

    def _fold(self, tally: Tally) -> None:
        key = (self._minute, tally.endpoint, tally.version, tally.role)
        profile = self._deltas.get(key)
        if profile is not None and profile.baseline.key != tally.lane.baseline.key:
            # The same version never has two baselines; a row under a name that was reused would spoil both.
            self.dropped += 1
            profile = None
        if profile is None:
            profile = self._deltas[key] = Profile.empty(tally.lane.baseline)
            while len(self._deltas) > MOST_KEPT:
                del self._deltas[next(iter(self._deltas))]
                self.dropped += 1
        tally.drain_into(profile, self.totals, self._clock())
