"""When a rollout may begin and go on: a start, hours of the week, and freezes, in the time of a place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Days to look ahead for the next open hour; a week holds every window once.
_LOOK_AHEAD = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """Open hours on some days of the week, in minutes of the local day: begins <= minute < ends."""

    #: 0 is Monday.
    days: tuple[int, ...]
    begins: int
    ends: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Freeze:
    """A time in which nothing starts and nothing advances: begins <= now < ends."""

    begins: datetime
    ends: datetime
    because: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When rollouts may move forward. Going back is always allowed, so no rule here is asked about it."""

    #: IANA name of the place whose time the hours are in.
    zone: str = "UTC"
    #: Not before; None is at once.
    start: datetime | None = None
    #: Without any, every hour is open.
    hours: tuple[Hours, ...] = ()
    freezes: tuple[Freeze, ...] = ()


def shut(schedules: Iterable[Schedule], now: datetime) -> str:
    """Why nothing may start or advance now, with the time at which that ends; empty when it may."""
    return "; ".join(dict.fromkeys(filter(None, (_shut(schedule, now) for schedule in schedules))))


def _shut(schedule: Schedule, now: datetime) -> str:
    zone = ZoneInfo(schedule.zone)
    for freeze in schedule.freezes:
        if freeze.begins <= now < freeze.ends:
            why = f" ({freeze.because})" if freeze.because else ""
            return f"frozen until {_told(freeze.ends, zone)}{why}"
    if schedule.start is not None and now < schedule.start:
        return f"starts not before {_told(schedule.start, zone)}"
    local = now.astimezone(zone)
    if not schedule.hours or any(_open(hours, local) for hours in schedule.hours):
        return ""
    return f"outside of the open hours until {_told(_opens(schedule, now, zone), zone)}"


def _open(hours: Hours, local: datetime) -> bool:
    return local.weekday() in hours.days and hours.begins <= local.hour * 60 + local.minute < hours.ends


def _opens(schedule: Schedule, now: datetime, zone: ZoneInfo) -> datetime:
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    coming = [
        (midnight + timedelta(days=day)).replace(hour=hours.begins // 60, minute=hours.begins % 60)
        for day in range(_LOOK_AHEAD)
        for hours in schedule.hours
        if (midnight + timedelta(days=day)).weekday() in hours.days
    ]
    # Local times of one zone compare by the clock on the wall, so they are compared as moments.
    return min((moment for moment in coming if moment.timestamp() > now.timestamp()), key=datetime.timestamp)


def _told(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"
