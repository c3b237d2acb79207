"""Whole minutes, the grain of everything that is watched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A span of time, start included, end excluded."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def minute_of(moment: datetime) -> int:
    """Whole minutes since 1970, the key of a profile."""
    return int(moment.timestamp()) // 60


def start_of_minute(minute: int) -> datetime:
    """The moment at which a minute begins."""
    return datetime.fromtimestamp(minute * 60, UTC)
