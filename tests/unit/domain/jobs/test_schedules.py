"""Each tick comes at most once, and what was missed is caught up with as the schedule says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.base.errors import Invalid
from lockgate.domain.jobs.calendar import between, zone_of
from lockgate.domain.jobs.kinds import KINDS, check_schedulable
from lockgate.domain.jobs.rules import LONGEST_WAIT, wait_before_next
from lockgate.domain.jobs.schedules import AT_ONCE, ON_TIME, CatchUp, Schedule, due, next_tick

MIDNIGHT = datetime(2026, 5, 1, tzinfo=UTC)


def hourly(catch_up: CatchUp, **more: object) -> Schedule:
    made = Schedule(
        id="prune", kind="prune", cron="0 * * * *", catch_up=catch_up, next_at=MIDNIGHT, created_at=MIDNIGHT,
        created_by="ada",
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("catch_up", "hours", "passed_over"),
    [(CatchUp.SKIP, [], 4), (CatchUp.ONCE, [3], 3), (CatchUp.ALL, [0, 1, 2, 3], 0)],
)
def test_three_hours_of_silence_are_caught_up_with_as_the_schedule_says(
    catch_up: CatchUp, hours: list[int], passed_over: int
) -> None:
    found = due(hourly(catch_up), MIDNIGHT + timedelta(hours=3, minutes=20))
    assert found is not None
    assert [tick.hour for tick in found.ticks] == hours
    assert found.passed_over == passed_over
    assert found.next_at == MIDNIGHT + timedelta(hours=4)


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_a_tick_on_time_is_taken_whatever_the_policy(catch_up: CatchUp) -> None:
    found = due(hourly(catch_up), MIDNIGHT + ON_TIME)
    assert found is not None
    assert found.ticks == (MIDNIGHT,)


def test_what_is_paused_removed_or_not_due_asks_for_nothing() -> None:
    late = MIDNIGHT + timedelta(days=1)
    assert due(hourly(CatchUp.ALL, paused=True), late) is None
    assert due(hourly(CatchUp.ALL, removed=True), late) is None
    assert due(hourly(CatchUp.ALL), MIDNIGHT - timedelta(microseconds=1)) is None


@given(
    catch_up=st.sampled_from(list(CatchUp)),
    cron=st.sampled_from(["*/5 * * * *", "30 2 * * *", "0 */3 * * *", "15,45 1-3 * * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    start=st.sampled_from([datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC), MIDNIGHT]),
    jumps=st.lists(st.sampled_from([1, 30, 120, 3600, -3600, 10_800]), min_size=1, max_size=60),
)
def test_no_tick_comes_twice_and_none_is_lost_whatever_the_clock_does(
    catch_up: CatchUp, cron: str, zone: str, start: datetime, jumps: list[int]
) -> None:
    schedule = replace(hourly(catch_up), cron=cron, zone=zone, next_at=next_tick(cron, zone, start))
    ran: list[datetime] = []
    now, latest, passed_over = start, start, 0
    for jump in jumps:
        now += timedelta(seconds=jump)
        latest = max(latest, now)
        while found := due(schedule, now):
            ran += found.ticks
            passed_over += found.passed_over
            assert found.next_at > schedule.next_at
            assert all(tick <= now for tick in found.ticks)
            schedule = replace(schedule, next_at=found.next_at)
    assert ran == sorted(set(ran))
    meant = between(cron, zone_of(zone), start + timedelta(microseconds=1), latest, 100_000)
    assert set(ran) <= set(meant)
    assert len(ran) + passed_over == len(meant)
    if catch_up is CatchUp.ALL:
        assert ran == meant


def test_a_year_of_missed_minutes_is_caught_up_with_in_small_pieces() -> None:
    schedule = hourly(CatchUp.ALL, cron="* * * * *")
    found = due(schedule, MIDNIGHT + timedelta(days=365))
    assert found is not None
    assert len(found.ticks) == AT_ONCE
    assert found.next_at == MIDNIGHT + timedelta(minutes=AT_ONCE)


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_the_wait_doubles_up_to_an_end_and_chance_never_takes_more_than_half(attempt: int, chance: float) -> None:
    whole = min(LONGEST_WAIT, 2.0 ** min(attempt - 1, 30))
    assert whole / 2 <= wait_before_next(attempt, chance) <= whole
    assert wait_before_next(attempt, 1.0) == whole


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("fly", {}, "there is no job of kind 'fly'"),
        ("gate", {}, "by people"),
        ("prune", {"endpoint": "x"}, "nothing it knows"),
        ("regate", {}, "endpoint is missing"),
    ],
)
def test_what_the_calendar_cannot_ask_for_is_refused(kind: str, payload: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        check_schedulable(kind, payload)
    assert refused.value.hint
    check_schedulable("prune", {"keep_days": 3})


def test_each_kind_can_be_done_by_the_code_that_asks_for_it() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name
        assert 1 <= kind.since <= kind.form
        assert set(kind.needs) <= set(kind.takes or ())
