"""Incidents and their timelines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"  # rolled back, not yet understood
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimelineEvent:
    """One line of an incident's story."""

    at: datetime
    #: alert, rollback, note, state …
    kind: str
    sentence: str
    by: str


class IncidentKind(StrEnum):
    """What it came from."""

    ALERT = "alert"
    BREAK_GLASS = "break_glass"  # a promotion was forced; somebody else has to review it


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """What people work on."""

    id: str
    revision: int = 0
    endpoint: str
    model: str
    environment: str
    version: str
    title: str
    state: IncidentState
    #: One automatic rollback an incident, no more.
    rolled_back: bool = False
    alerts: tuple[str, ...] = ()
    timeline: tuple[TimelineEvent, ...] = ()
    opened_at: datetime
    acknowledged_by: str = ""
    resolved_at: datetime | None = None
    kind: IncidentKind = IncidentKind.ALERT
    #: By when it has to be resolved, where there is such a time.
    due_at: datetime | None = None
