"""Rollouts: the durable row that the reconciler works on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lockgate.domain.rollout.schedule import Schedule


class StepKind(StrEnum):
    """What a step shows the candidate."""

    SHADOW = "shadow"
    TRAFFIC = "traffic"
    PREVIEW = "preview"  # loaded beside the stable version, answers only those who ask for it by its number
    EXPERIMENT = "experiment"  # both answer, until a declared metric says which is better


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """What two versions are compared by, and when that ends."""

    #: `accuracy`: the label is what was answered. `outcome`: the label is ``success``.
    metric: str
    #: The label that is a success, for `outcome`.
    success: str = ""
    #: Chance that a winner is declared although neither is better, however often one looks.
    alpha: float = 0.05
    #: Fewest labels of each version before a winner may be declared.
    least_labels: int = 100
    #: Whether the weights follow the metric (Thompson sampling), within these bounds, in ten-thousandths.
    bandit: bool = False
    least_weight: int = 0
    most_weight: int = 10_000
    #: Seconds between two changes of the weights.
    every: float = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One stage of a rollout."""

    kind: StepKind
    #: Share of live traffic in ten-thousandths; for a shadow, the share it is shown.
    weight: int
    #: Least time to stay, in seconds; of an experiment the longest.
    seconds: float
    #: A person has to let it go on.
    manual: bool = False
    #: Of a preview: fewest requests by the version's number that it has to answer.
    requests: int = 0
    experiment: Experiment | None = None


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
    #: Largest share of errors or invalid outputs, and largest p95 in ms, whatever stable does; None: no limit.
    error_limit: float | None = None
    latency_limit_ms: float | None = None
    #: After so many seconds without enough evidence in one step the rollout is rolled back.
    hold_seconds: float = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """The way a release takes traffic. No steps: all at once."""

    steps: tuple[Step, ...] = ()
    guard: GuardSpec = GuardSpec()
    #: When it may start and advance: as all of these allow.
    schedules: tuple[Schedule, ...] = ()


class Phase(StrEnum):
    """Where a rollout stands."""

    SCHEDULED = "scheduled"  # has its time still to come: nothing of it is routed
    RUNNING = "running"
    HOLDING = "holding"  # evidence unknown, or drift: waits for evidence or a person
    COMPLETED = "completed"
    ABORTED = "aborted"

    @property
    def over(self) -> bool:
        return self in (Phase.COMPLETED, Phase.ABORTED)


#: Phases of a rollout that is still on its way.
UNDER_WAY = (Phase.SCHEDULED, Phase.RUNNING, Phase.HOLDING)


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
    #: When a person let the present step go on.
    confirmed_at: datetime | None = None
    #: The candidate's share where an experiment has moved it, and since when.
    weight: int | None = None
    weighed_at: datetime | None = None
    #: The last decision in a sentence, with its figures.
    reason: str
    #: What the last decision was made on.
    judgements: tuple[dict[str, Any], ...] = ()
    created_at: datetime
    finished_at: datetime | None = None
