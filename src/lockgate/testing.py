"""Floor 5: what tests of lockgate, and of what is built on it, hand in for time and chance."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from lockgate.base.clock import aware


class FakeClock:
    """A clock that stands still until it is told to move on."""

    def __init__(self, now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)) -> None:
        self._now = aware(now)

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta | None = None, *, minutes: float = 0, seconds: float = 0) -> datetime:
        """Move on by a span; gives the new moment."""
        self._now += (by or timedelta()) + timedelta(minutes=minutes, seconds=seconds)
        return self._now


class SequentialIds:
    """Ids that count up, so a test can say which record it means: the first promotion is ``promo_0001``."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def new(self, kind: str, at: datetime) -> str:
        """The next id of that kind; the time plays no part."""
        aware(at)
        self._count[kind] += 1
        return f"{kind}_{self._count[kind]:04d}"
