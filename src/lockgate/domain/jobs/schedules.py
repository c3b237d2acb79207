"""Work that comes by the calendar: each tick at most once, whatever happens to the clock or the platform."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from lockgate.domain.jobs.calendar import between, following, zone_of

#: A tick that is taken up so late is a missed one.
ON_TIME = timedelta(seconds=60)
#: Jobs that one look asks for at most; the others come with the next look.
AT_ONCE = 100


class CatchUp(StrEnum):
    """What becomes of ticks that were missed, because the platform was down or the clock was put forward."""

    SKIP = "skip"  # nothing
    ONCE = "once"  # one job for all of them
    ALL = "all"  # one for each


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A job that is asked for again and again. Its id is its name."""

    id: str
    revision: int = 0
    #: Kind of the jobs, and what they are asked with.
    kind: str
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Five fields, and the IANA name of the place whose clock they are by.
    cron: str
    zone: str = "UTC"
    catch_up: CatchUp = CatchUp.ONCE
    paused: bool = False
    #: It is over; its name may be taken again.
    removed: bool = False
    #: The next tick that was not dealt with. It never goes back, so no tick comes twice.
    next_at: datetime
    #: The newest tick that a job was asked for, that job, and how many ticks were passed over since the beginning.
    last_tick: datetime | None = None
    last_job: str = ""
    passed_over: int = 0
    created_at: datetime
    created_by: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What one look at a schedule comes to."""

    #: Ticks that a job is asked for.
    ticks: tuple[datetime, ...]
    passed_over: int
    next_at: datetime


def due(schedule: Schedule, now: datetime) -> Due | None:
    """What to ask for now; None when nothing is due."""
    if schedule.paused or schedule.removed or now < schedule.next_at:
        return None
    zone = zone_of(schedule.zone)
    if schedule.catch_up is CatchUp.ALL:
        ticks = between(schedule.cron, zone, schedule.next_at, now, AT_ONCE)
        return Due(ticks=tuple(ticks), passed_over=0, next_at=next_tick(schedule.cron, schedule.zone, ticks[-1]))
    newest, count = schedule.next_at, 0
    coming = schedule.next_at - timedelta(microseconds=1)
    for tick in following(schedule.cron, zone, coming):
        if tick > now:
            coming = tick
            break
        newest, count = tick, count + 1
    runs = schedule.catch_up is CatchUp.ONCE or now - newest <= ON_TIME
    return Due(ticks=(newest,) if runs else (), passed_over=count - runs, next_at=coming)


def next_tick(cron: str, zone: str, after: datetime) -> datetime:
    """The first tick behind a moment; there is always one, as `check_calendar` saw to."""
    return next(following(cron, zone_of(zone), after))
