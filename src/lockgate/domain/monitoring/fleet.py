"""How every model does in every environment, in the words of somebody who looks in for five seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.traffic import Traffic


class Health(StrEnum):
    """Whether somebody has to look."""

    GOOD = "good"
    WATCH = "watch"  # nothing is broken, but something moved
    BAD = "bad"
    QUIET = "quiet"  # nobody asks, so nobody knows
    EMPTY = "empty"  # no version answers here


@dataclass(frozen=True, kw_only=True, slots=True)
class OnItsWay:
    """A version that is being rolled out."""

    rollout: str
    release: str
    version: str
    phase: str
    paused: bool
    #: The step it is on, counted from 1, and how many there are.
    step: int
    steps: int
    #: shadow or traffic, and its share between 0 and 1.
    kind: str
    share: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointStanding:
    """One model in one environment."""

    endpoint: str
    model: str
    environment: str
    #: The version that answers; the one kept warm behind it.
    stable: str | None
    previous: str | None
    on_its_way: OnItsWay | None
    health: Health
    #: Why it is called that.
    sentence: str
    #: Of the last minutes; None where nothing was counted.
    traffic: Traffic | None
    requests_per_minute: float | None
    #: Requests in each of the last whole minutes, oldest first; None where nothing was counted.
    recent: tuple[int | None, ...]
    drift: Verdict
    drift_sentence: str
    drifted: tuple[str, ...]
    open_alerts: tuple[str, ...]
    open_incidents: tuple[str, ...]
    changed_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStanding:
    """One model everywhere."""

    model: str
    owner: str
    risk: str
    description: str
    #: Its newest version's number and where that stands; None before the first.
    newest: int | None
    newest_state: str
    #: Promotions that wait for a signature.
    awaiting: tuple[str, ...]
    endpoints: tuple[EndpointStanding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """Everything at a glance."""

    at: datetime
    #: Minutes over which traffic is averaged.
    minutes: int
    #: The environments in the order of promotion.
    environments: tuple[str, ...]
    models: tuple[ModelStanding, ...]


def judge(
    *,
    stable: str | None,
    on_its_way: OnItsWay | None,
    incidents: int,
    mitigated: int,
    alerts: tuple[str, ...],
    drifted: tuple[str, ...],
    traffic: Traffic | None,
    minutes: int,
) -> tuple[Health, str]:
    """The worst that is known of an endpoint, and the sentence that says it.

    Args:
        incidents: how many are open or acknowledged; ``mitigated`` how many wait for their review.
        alerts: sentences of the open ones, newest first.
    """
    if incidents:
        return Health.BAD, alerts[0] if alerts else f"{_many(incidents, 'incident')} open"
    if alerts:
        return Health.BAD, alerts[0]
    if stable is None and on_its_way is None:
        return Health.EMPTY, "no version was promoted here yet"
    if on_its_way is not None and (on_its_way.paused or on_its_way.phase == "holding"):
        return Health.WATCH, f"the rollout of {on_its_way.version} waits: {on_its_way.reason}"
    if drifted:
        return Health.WATCH, f"the inputs moved away from training: {', '.join(drifted[:3])}"
    if mitigated:
        return Health.WATCH, f"{_many(mitigated, 'incident')} mitigated, not yet resolved"
    if traffic is None or traffic.requests == 0:
        return Health.QUIET, f"nobody asked in the last {minutes} minutes"
    if traffic.error_share:
        return Health.GOOD, f"{traffic.error_share:.2%} of the requests failed, within limits"
    return Health.GOOD, "answering, no errors"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"
