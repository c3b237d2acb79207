"""What a cron expression means in the time of a place, held to a look at every single minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from lockgate.base.errors import Invalid
from lockgate.domain.jobs.calendar import between, check_calendar, following

BERLIN = ZoneInfo("Europe/Berlin")
#: Nights in which clocks change: forward, back, by half an hour, in the south, and one in which nothing happens.
NIGHTS = (
    ("Europe/Berlin", datetime(2026, 3, 28, 20, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 0, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 10, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 10, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 5, 1, 0, tzinfo=UTC)),
)


def local(moments: list[datetime], zone: ZoneInfo) -> list[str]:
    return [moment.astimezone(zone).strftime("%d %H:%M%z") for moment in moments]


def test_a_time_that_summer_time_skips_comes_as_much_later() -> None:
    found = list(islice(following("30 2 * * *", BERLIN, datetime(2026, 3, 28, 12, tzinfo=UTC)), 2))
    assert local(found, BERLIN) == ["29 03:30+0200", "30 02:30+0200"]


def test_a_time_that_comes_twice_counts_the_first_time() -> None:
    found = list(islice(following("30 2 * * *", BERLIN, datetime(2026, 10, 24, 12, tzinfo=UTC)), 2))
    assert local(found, BERLIN) == ["25 02:30+0200", "26 02:30+0100"]


def test_what_comes_every_hour_has_no_gap_and_no_double_when_clocks_change() -> None:
    for _, night in NIGHTS[:2]:
        found = list(islice(following("*/20 * * * *", BERLIN, night), 40))
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=20)}


@given(
    night=st.sampled_from(NIGHTS),
    minute=st.sampled_from(["*", "*/7", "0", "17,43"]),
    hour=st.sampled_from(["*", "*/2", "1", "2", "3", "1-3", "0,2"]),
    start=st.integers(0, 600),
)
def test_the_moments_are_those_that_a_look_at_each_minute_finds(
    night: tuple[str, datetime], minute: str, hour: str, start: int
) -> None:
    zone, expression = ZoneInfo(night[0]), f"{minute} {hour} * * *"
    after = night[1] + timedelta(minutes=start)
    end = after + timedelta(hours=9)
    found = between(expression, zone, after + timedelta(microseconds=1), end, 10_000)
    assert found == sorted(set(found))
    seen = {at for at in minutes(after, end) if croniter.match(expression, at.astimezone(zone).replace(tzinfo=None))}
    if hour.startswith("*"):
        assert set(found) == seen
        return
    # By the wall: the second time of what comes twice is left out, and what was skipped is put in.
    twice = {at for at in seen if at.astimezone(zone).fold}
    assert seen - twice <= set(found)
    for extra in set(found) - (seen - twice):
        wall = extra.astimezone(zone).replace(tzinfo=None)
        skipped = [wall - by for by in (timedelta(minutes=30), timedelta(hours=1)) if is_skipped(wall - by, zone)]
        assert any(croniter.match(expression, each) for each in skipped)


def minutes(after: datetime, end: datetime) -> list[datetime]:
    first = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return [first + timedelta(minutes=count) for count in range(int((end - first).total_seconds() // 60) + 1)]


def is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall


def test_a_rare_day_is_found() -> None:
    (found,) = islice(following("0 0 29 2 *", ZoneInfo("UTC"), datetime(2096, 3, 1, tzinfo=UTC)), 1)
    assert found == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        *("", "x", "* * * *", "* * * * * *", "61 * * * *", "R * * * *", "H * * * *", "@reboot", "*/0 * * * *"),
        *("0 0 31 2 *", "* * * * " + "1," * 200, "0 0 * * someday", "\u0660 * * * *", "* * * * *\0"),
    ],
)
def test_text_that_means_no_moment_is_refused_with_a_hint(expression: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_calendar(expression, "UTC")
    assert "cron" in refused.value.message or "never comes" in refused.value.message
    assert "five fields" in refused.value.hint


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "UTC\0", "x" * 5000])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(Invalid, match="no time zone"):
        check_calendar("@daily", zone)
