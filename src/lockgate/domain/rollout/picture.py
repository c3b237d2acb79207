"""A canary and the stable version beside it, as people look at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two versions over some span; None where nothing was counted."""

    version: str
    #: live or shadow.
    role: str
    requests: int
    rows: int
    errors: dict[str, int] = field(default_factory=dict[str, int])
    error_share: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedMinute:
    """Both in one minute; None for the one that was not asked."""

    at: datetime
    candidate: Side | None
    stable: Side | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One rollout: the candidate against the stable version that ran beside it."""

    rollout: str
    endpoint: str
    phase: str
    #: Step it is on, counted from 1; the number of steps when it is over.
    step: int
    steps: int
    #: What `candidate` and `stable` are taken over: from the step's start, or all of it once it is over.
    start: datetime
    end: datetime
    candidate: Side | None
    stable: Side | None
    #: From the rollout's start to its end or now.
    minutes: tuple[ComparedMinute, ...]
    #: Edges of the score's bars, shares of the rows in each; empty where the two cannot be laid beside each other.
    score_edges: tuple[float, ...]
    candidate_scores: tuple[float, ...]
    stable_scores: tuple[float, ...]
    #: Kolmogorov-Smirnov distance between the two; None where unknown.
    score_distance: float | None
    #: What the guards said last, as the rollout keeps it.
    judgements: tuple[dict[str, Any], ...]
    sentence: str
