"""Rollouts: the durable row that the reconciler works on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class StepKind(StrEnum):
    """What a step shows the candidate."""

    SHADOW = "shadow"
    TRAFFIC = "traffic"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One stage of a rollout."""

    kind: StepKind
    #: Share of live traffic in ten-thousandths; for a shadow, the share it is shown.
    weight: int
    #: Least time to stay, in seconds.
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardSpec:
    """Limits that the canary is held to, beside the stable version running at the same time."""

    #: Fewest candidate rows before any comparison counts.
    least_samples: int = 200
    #: How much worse than stable the share of errors or invalid outputs may be.
    error_margin: float = 0.01
    #: How many times stable's p95 the candidate's p95 may be.
    latency_ratio: float = 2.0
    #: p95 under this many milliseconds is never too slow.
    latency_floor_ms: float = 5.0
    #: Largest Kolmogorov-Smirnov distance between the two score distributions.
    prediction_distance: float = 0.2
    #: Chance of a false alarm that one look may have.
    alpha: float = 0.001
    #: After so many seconds without enough evidence in one step the rollout is rolled back.
    hold_seconds: float = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """The way a release takes traffic. No steps: all at once."""

    steps: tuple[Step, ...] = ()
    guard: GuardSpec = GuardSpec()


class Phase(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    HOLDING = "holding"  # evidence unknown, or drift: waits for evidence or a person
    COMPLETED = "completed"
    ABORTED = "aborted"

    @property
    def over(self) -> bool:
        return self in (Phase.COMPLETED, Phase.ABORTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """A release on its way."""

    id: str
    revision: int = 0
    endpoint: str
    model: str
    environment: str
    release: str
    #: Version ids; stable is None on an endpoint's first release.
    candidate: str
    stable: str | None
    strategy: Strategy
    #: Index of the step it is on; len(steps) when completed.
    step: int
    step_started_at: datetime
    phase: Phase
    #: Somebody, or a drift alert, holds it; guards go on judging, but it does not advance.
    paused: bool = False
    #: The last decision in a sentence, with its figures.
    reason: str
    #: What the last decision was made on.
    judgements: tuple[dict[str, Any], ...] = ()
    created_at: datetime
    finished_at: datetime | None = None
