"""Signals, and the alerts they are folded into."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class SignalKind(StrEnum):
    """What was breached."""

    ERRORS = "errors"
    LATENCY = "latency"
    QUALITY = "quality"
    DRIFT = "drift"
    DATA_QUALITY = "data_quality"
    NO_DATA = "no_data"


#: Kinds that may undo a release without a person; the others only call one.
MAY_ROLL_BACK = frozenset({SignalKind.ERRORS, SignalKind.LATENCY, SignalKind.QUALITY})


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One observed breach."""

    endpoint: str
    version: str
    kind: SignalKind
    #: What of it: a feature's or a metric's name, or empty.
    name: str
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)
    at: datetime


class AlertState(StrEnum):
    """Whether the breach goes on."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """Signals of one kind on one endpoint and version, deduplicated over time."""

    id: str
    revision: int = 0
    endpoint: str
    version: str
    kind: SignalKind
    state: AlertState
    #: The newest signal's sentence and figures; names of all features or metrics seen in it.
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    count: int = 1
    incident: str | None = None
    opened_at: datetime
    last_at: datetime
    closed_at: datetime | None = None
