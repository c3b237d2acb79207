"""Time as something handed in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from lockgate.base.errors import Invalid


class Clock(Protocol):
    """Knows how to tell the time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def aware(moment: datetime) -> datetime:
    """The same moment in UTC; a naive one is refused, since nobody can know what it meant."""
    if moment.tzinfo is None:
        raise Invalid("a time needs its zone", hint="write it like 2026-05-01T12:00:00Z")
    return moment.astimezone(UTC)


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is not a time", hint="write it like 2026-05-01T12:00:00Z") from error
    return aware(moment)
