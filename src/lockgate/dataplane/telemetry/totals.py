"""What was counted by version, for as long as the worker lives: tallies and lanes come and go, counters never fall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.dataplane.telemetry.distribution import SECONDS, SIZES, Distribution
from lockgate.dataplane.telemetry.snapshot import VERSION_LABELS, Family, Kept, Labels, Value, Version

#: The numbers of a call: its requests, its rows, the seconds from its first request's first byte to its begin (below
#: 0 for shadows, for whom nobody waits), and its own seconds.
PER_CALL = 4

REQUESTS = Family(
    "lockgate_requests_total",
    "counter",
    "Prediction requests by version and status.",
    (*VERSION_LABELS, "code", "protocol"),
)
DURATION = Family(
    "lockgate_request_duration_seconds",
    "histogram",
    "Time from the first byte of a request to its prediction.",
    VERSION_LABELS,
    "seconds",
)
ROWS = Family("lockgate_rows_total", "counter", "Rows of prediction requests.", VERSION_LABELS)
FAILURES = Family(
    "lockgate_request_failures_total",
    "counter",
    "Requests without a prediction, by reason.",
    (*VERSION_LABELS, "reason"),
)
PHASE = Family(
    "lockgate_phase_duration_seconds",
    "histogram",
    "Time of a call's phases: wait (from its first request's first byte) and predict.",
    (*VERSION_LABELS, "phase"),
    "seconds",
)
BATCH_REQUESTS = Family("lockgate_batch_requests", "histogram", "Requests that shared a call.", VERSION_LABELS)
BATCH_ROWS = Family("lockgate_batch_rows", "histogram", "Rows of a call.", VERSION_LABELS)
RESTARTS = Family("lockgate_runner_restarts_total", "counter", "Runner processes that were replaced.", VERSION_LABELS)
RETRIES = Family("lockgate_upstream_retries_total", "counter", "Calls asked a second time elsewhere.", VERSION_LABELS)
_ALL = (REQUESTS, DURATION, ROWS, FAILURES, PHASE, BATCH_REQUESTS, BATCH_ROWS, RESTARTS, RETRIES)

_NONE = np.zeros(0)
#: Numbers that wait before they are counted; few enough that counting them does not hold up the loop.
_MOST_WAITING = 8192


class VersionTotals:
    """One version on one endpoint in one role."""

    def __init__(self) -> None:
        #: Answers by status and protocol.
        self.answers: dict[tuple[int, str], int] = {}
        self.failures: dict[str, int] = {}
        self.rows = self.restarts = self.retries = 0
        self.duration, self.wait, self.predict = (Distribution.empty(SECONDS) for _ in range(3))
        self.requests_of, self.rows_of = (Distribution.empty(SIZES) for _ in range(2))
        self.used = 0.0
        #: Seconds of requests, and calls, that wait for `observe`: many at once cost little more than one.
        self.seconds: list[NDArray[Any]] = []
        self.calls: list[float] = []
        #: Numbers in both.
        self.waiting = 0

    def observe(self) -> None:
        """Count what waits."""
        self.waiting = 0
        if self.seconds:
            self.duration.observe(np.concatenate(self.seconds))
            self.seconds = []
        if self.calls:
            together = np.array(self.calls, dtype=float).reshape(-1, PER_CALL)
            self.calls = []
            self.requests_of.observe(together[:, 0])
            self.rows_of.observe(together[:, 1])
            waits = together[:, 2]
            self.wait.observe(waits[waits >= 0])
            self.predict.observe(together[:, 3])

    def values(self) -> Iterator[tuple[Family, Labels, Value]]:
        """Every number that was counted, with the labels behind the version's own."""
        for (status, protocol), count in self.answers.items():
            yield REQUESTS, (str(status), protocol), count
        for reason, count in self.failures.items():
            yield FAILURES, (reason,), count
        yield DURATION, (), self.duration
        yield ROWS, (), self.rows
        yield PHASE, ("wait",), self.wait
        yield PHASE, ("predict",), self.predict
        yield BATCH_REQUESTS, (), self.requests_of
        yield BATCH_ROWS, (), self.rows_of
        if self.restarts:
            yield RESTARTS, (), self.restarts
        if self.retries:
            yield RETRIES, (), self.retries


class Totals:
    """Everything of a worker that is counted by version."""

    def __init__(self) -> None:
        self._versions: dict[Version, VersionTotals] = {}
        #: Rises with whatever is counted.
        self.changes = 0

    def add(
        self,
        version: Version,
        now: float,
        *,
        answers: dict[tuple[int, str], int],
        failures: dict[str, int],
        rows: int = 0,
        seconds: NDArray[Any] = _NONE,
        calls: list[float] | None = None,
    ) -> None:
        """Count what came since the last time; ``seconds`` has shape (requests,), and calls have `PER_CALL` each."""
        found = self._of(version)
        found.used = now
        for key, count in answers.items():
            found.answers[key] = found.answers.get(key, 0) + count
        for reason, count in failures.items():
            found.failures[reason] = found.failures.get(reason, 0) + count
        found.rows += rows
        if len(seconds):
            found.seconds.append(seconds)
        if calls:
            found.calls += calls
        found.waiting += len(seconds) + len(calls or ())
        if found.waiting >= _MOST_WAITING:
            found.observe()

    def mend(self, version: Version, now: float, *, restarts: int, retries: int) -> None:
        """Count what a lane had to mend since the last time."""
        found = self._of(version)
        found.used = now
        found.restarts += restarts
        found.retries += retries

    def families(self) -> list[Kept]:
        """Their numbers; the distributions are the living ones."""
        found = {family.name: Kept(family, {}) for family in _ALL}
        for version, totals in self._versions.items():
            totals.observe()
            for family, labels, value in totals.values():
                found[family.name].series[version + labels] = value
        return list(found.values())

    def used(self) -> dict[Version, float]:
        """When each version was last asked."""
        return {version: totals.used for version, totals in self._versions.items()}

    def forget(self, gone: set[Version]) -> None:
        """Nobody will ask for these numbers any more."""
        for version in gone:
            self._versions.pop(version, None)

    def _of(self, version: Version) -> VersionTotals:
        self.changes += 1
        found = self._versions.get(version)
        if found is None:
            found = self._versions[version] = VersionTotals()
        return found
