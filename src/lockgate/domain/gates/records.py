"""Evidence, reports, promotions, approvals and releases."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from lockgate.base.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """What one gate says, with the figures it says it on."""

    #: quality, regression, slices, latency, signature, format, parity …
    gate: str
    #: Which one, when a policy has several of a kind: the metric's name, for example.
    name: str
    verdict: Verdict
    #: A full sentence with figure, limit and interval.
    sentence: str
    #: What to do next, when it did not pass.
    hint: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    #: What was demanded of it, as the policy put it.
    params: dict[str, Any] = field(default_factory=dict)
    #: Seconds the gate took.
    seconds: float = 0.0
    #: The evidence's content address, over all of the above and what it was found on; see `evidence.bound`.
    digest: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport:
    """The verdicts on one package, for one environment, under one policy, on certain data."""

    id: str
    revision: int = 0
    model: str
    version: str
    environment: str
    #: What it is bound to: promotion refuses any other package, policy, data or champion.
    package: str
    policy_digest: str
    data: dict[str, str]
    champion: str | None
    results: tuple[GateResult, ...]
    verdict: Verdict
    created_at: datetime


class PromotionState(StrEnum):
    """Where the request to move a version stands."""

    GATING = "gating"
    REFUSED = "refused"
    AWAITING_APPROVAL = "awaiting_approval"
    REJECTED = "rejected"
    RELEASED = "released"


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """A person's signature, bound to what they saw."""

    by: str
    at: datetime
    reason: str
    package: str
    report: str
    policy_digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Forced:
    """Break-glass: a person let a version through that the rules did not."""

    by: str
    at: datetime
    reason: str
    #: What the rules said at that moment.
    past: str
    #: The incident in which somebody else has to review it.
    review: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """The request to move a package to an environment."""

    id: str
    revision: int = 0
    model: str
    version: str
    environment: str
    package: str
    policy_digest: str
    state: PromotionState
    report: str | None = None
    release: str | None = None
    approvals_needed: int = 0
    approvals: tuple[Approval, ...] = ()
    #: Why it stands where it stands, in a sentence.
    sentence: str = ""
    reason: str
    requested_by: str
    #: The person behind the requester when that is a machine; they may not approve it either.
    behind: str = ""
    created_at: datetime
    #: The job that judges it; its progress tells which gate is at work.
    job: str = ""
    #: Ids of the waivers without which it would have been refused.
    waivers: tuple[str, ...] = ()
    #: Who forced it past its gates, if anybody did.
    forced: Forced | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """The promoted package in an environment."""

    id: str
    revision: int = 0
    model: str
    version: str
    environment: str
    endpoint: str
    package: str
    report: str
    promotion: str
    rollout: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """What callers address. Its id is ``model.environment``; it outlives versions."""

    id: str
    revision: int = 0
    model: str
    environment: str
    #: Version ids: fully promoted, the one before it (kept warm), and the one on its way.
    stable: str | None = None
    previous: str | None = None
    candidate: str | None = None
    #: The rollout that is under way, if any.
    rollout: str | None = None
    updated_at: datetime
