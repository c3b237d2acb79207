"""Cron in the time of a place: which moments an expression means, through summer time and winter time.

An expression that names its hours is by the clock on the wall: a time that summer time skips comes as much later as the
clock is put forward, and one that comes twice counts the first time. One for every hour is by time that passes: it has
no gap and no double. (As Debian's and Vixie's cron have it, cron(8), "Notes".)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from croniter.croniter import CroniterError

from lockgate.base.errors import Invalid

_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
#: Digits, names of months and days, and what combines them: no seconds, no chance, no hashes.
_FIELD = re.compile(r"[0-9A-Za-z*/,#?-]{1,60}")
_NAMES = re.compile(r"[A-Za-z]+")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_KNOWN = frozenset({*_MONTHS, "sun", "mon", "tue", "wed", "thu", "fri", "sat", "l"})
#: Wider than any change of a clock: what the calendar names so close to a moment may be on either side of it.
_MARGIN = timedelta(hours=3)
#: Years to look ahead; 29 February is at most eight years away.
_YEARS = 9


def check_calendar(expression: str, zone: str) -> None:
    """See whether an expression and a zone mean something; raises Invalid."""
    place = zone_of(zone)
    fields = _fields(expression)
    try:
        croniter(fields, datetime(2026, 1, 1), max_years_between_matches=_YEARS)  # noqa: DTZ001 - a wall's calendar
    except CroniterError as error:
        raise Invalid(f"{expression[:100]!r} is no cron expression: {error}", hint=_HINT) from error
    if next(following(expression, place, datetime(2026, 1, 1, tzinfo=UTC)), None) is None:
        raise Invalid(f"{expression[:100]!r} never comes: there is no such day", hint=_HINT)


_HINT = "five fields: minute hour day month weekday, such as '30 3 * * mon-fri', or @hourly, @daily, @weekly, @monthly"


def zone_of(name: str) -> ZoneInfo:
    """The time of a place by its IANA name; raises Invalid."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid(
            f"{name[:100]!r} is no time zone", hint="take an IANA name such as Europe/Berlin, or UTC"
        ) from error


def following(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The moments behind ``after`` that the expression means, in UTC, one after the other."""
    every_hour = _fields(expression).split()[1].startswith("*")
    walls = _walls(expression, (after.astimezone(zone) - _MARGIN).replace(tzinfo=None))
    kept: list[datetime] = []
    for wall in walls:
        # Nothing that the calendar still names can come before this.
        certain = wall.replace(tzinfo=zone).astimezone(UTC) - _MARGIN
        ready = sorted({moment for moment in kept if moment < certain})
        yield from ready
        kept = [moment for moment in kept if moment >= certain]
        kept += [moment for moment in _moments(wall, zone, every_hour=every_hour) if moment > after]
    yield from sorted(set(kept))


def between(expression: str, zone: ZoneInfo, first: datetime, last: datetime, most: int) -> list[datetime]:
    """The moments from ``first`` to ``last``, both included, the earliest ``most`` of them."""
    found: list[datetime] = []
    for moment in takewhile(lambda each: each <= last, following(expression, zone, first - timedelta(microseconds=1))):
        found.append(moment)
        if len(found) == most:
            break
    return found


def _fields(expression: str) -> str:
    text = _WORDS.get(expression.strip().lower(), expression.strip())
    fields = text.split()
    good = len(fields) == 5 and all(_FIELD.fullmatch(field) for field in fields)
    names = {name.lower() for name in _NAMES.findall(text)}
    if not good or not names <= _KNOWN:
        raise Invalid(f"{expression[:100]!r} is no cron expression", hint=_HINT)
    return " ".join(fields)


def _walls(expression: str, start: datetime) -> Iterator[datetime]:
    """What the clock on the wall shows, in the order of the calendar."""
    try:
        yield from croniter(_fields(expression), start, max_years_between_matches=_YEARS).all_next(datetime)
    except CroniterError:
        return


def _moments(wall: datetime, zone: ZoneInfo, *, every_hour: bool) -> list[datetime]:
    """When the wall shows that: once, twice when the clock is put back, never when it is put forward."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    skipped = first.astimezone(zone).replace(tzinfo=None) != wall
    if every_hour:
        return [] if skipped else [first, second]
    return [first]
