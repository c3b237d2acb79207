from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.limits import Bucket, Cost, Delay, Priority, Storm, Tenants, Vegas


def test_a_burst_passes_and_what_would_wait_too_long_does_not() -> None:
    delay = Delay(0.1)
    assert delay.admits(0.0, 0.09, 500)
    assert not delay.admits(0.0, 0.2, 500)


def test_callers_who_each_wait_for_their_answer_are_not_refused_for_being_several() -> None:
    delay = Delay(0.1)
    assert all(delay.admits(0.0, ahead * 5.0, ahead) for ahead in range(64))


def test_once_something_was_shed_only_short_waits_are_let_in_until_it_is_calm() -> None:
    delay = Delay(0.1, calm=1.0)
    assert not delay.admits(0.0, 0.2, 500)
    assert not delay.admits(0.5, 0.05, 500)
    assert delay.admits(0.6, 0.009, 500)
    assert delay.admits(0.6, 9.0, 3)
    # What was refused at 0.5 s keeps it tight until 1.5 s.
    assert not delay.admits(1.4, 0.05, 500)
    assert delay.admits(2.5, 0.05, 500)


def test_a_queue_that_was_short_for_a_moment_does_not_stand() -> None:
    delay = Delay(0.1)
    assert not delay.admits(0.0, 0.2, 500)
    delay.settled(0.02)
    assert delay.tight(0.1)
    delay.settled(0.001)
    assert not delay.tight(0.2)
    assert delay.admits(0.2, 0.09, 500)


def test_batch_requests_are_shed_first_and_do_not_make_it_hard_for_others() -> None:
    delay = Delay(0.1)
    assert not delay.admits(0.0, 0.08, 500, Priority.BATCH)
    assert not delay.tight(0.0)
    assert delay.admits(0.0, 0.08, 500, Priority.NORMAL)
    assert delay.admits(0.0, 0.105, 500, Priority.CRITICAL)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 2), st.floats(0, 1), st.integers(0, 600), st.sampled_from(Priority)), max_size=60
    )
)
def test_whoever_would_be_let_in_behind_many_is_let_in_behind_few(
    steps: list[tuple[float, float, int, Priority]],
) -> None:
    now = 0.0
    delay, same = Delay(0.1), Delay(0.1)
    for pause, wait, ahead, priority in steps:
        now += pause
        admitted = delay.admits(now, wait, ahead, priority)
        if admitted:
            # Less waiting, fewer ahead or a higher class never turns a yes into a no.
            assert same.admits(now, wait / 2, ahead // 2, Priority(max(0, priority - 1)))
        else:
            same.admits(now, wait, ahead, priority)


def run(vegas: Vegas, capacity: int, calls: int, start: float = 0.0, service: float = 0.05) -> float:
    """Calls against something that takes ``service`` seconds for each, ``capacity`` at once, never idle."""
    now = start
    for _ in range(calls):
        under_way = vegas.limit
        taken = service * max(1.0, under_way / capacity)
        now += taken / under_way
        vegas.ended(now, taken, under_way)
    return now


@given(capacity=st.integers(4, 200))
def test_the_limit_finds_about_what_there_is_room_for(capacity: int) -> None:
    vegas = Vegas()
    run(vegas, capacity, 4000)
    assert capacity * 0.4 <= vegas.limit <= capacity * 1.6 + 12


def test_the_limit_follows_when_there_is_less_room_and_comes_back() -> None:
    vegas = Vegas()
    now = run(vegas, 100, 4000)
    high = vegas.limit
    now = run(vegas, 10, 4000, now)
    assert vegas.limit < high / 2
    run(vegas, 100, 6000, now)
    assert vegas.limit > 50


def test_failures_for_want_of_room_lower_the_limit_to_one_and_no_further() -> None:
    vegas = Vegas(initial=64)
    limits: list[int] = []
    for call in range(100):
        vegas.ended(float(call), 0.01, 8, failed=True)
        limits.append(vegas.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == 1


@given(
    calls=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 100), st.integers(1, 2000), st.booleans()), max_size=200),
    most=st.integers(1, 64),
)
def test_the_limit_stays_between_one_and_the_most(calls: list[tuple[float, float, int, bool]], most: int) -> None:
    vegas = Vegas(most=most)
    now = 0.0
    for pause, taken, under_way, failed in calls:
        now += pause
        vegas.ended(now, taken, under_way, failed=failed)
        assert 1 <= vegas.limit <= most


def test_a_limit_that_nobody_comes_near_does_not_grow() -> None:
    vegas = Vegas(initial=8)
    for call in range(1000):
        vegas.ended(call * 0.001, 0.01, 1)
    assert vegas.limit <= 8


@given(
    call=st.floats(0.0001, 0.1),
    each=st.floats(0, 0.01),
    sizes=st.lists(st.integers(1, 256), min_size=40, max_size=80).filter(lambda sizes: len(set(sizes)) > 5),
)
def test_what_a_call_takes_is_learnt_from_calls_of_other_sizes(call: float, each: float, sizes: list[int]) -> None:
    cost = Cost()
    for rows in sizes:
        cost.learn(rows, call + each * rows)
    for rows in (1, 50, 256):
        assert cost.call(rows) == pytest.approx(call + each * rows, rel=0.05, abs=each)


def test_calls_that_are_all_of_one_size_say_nothing_of_a_row() -> None:
    cost = Cost()
    for _ in range(50):
        cost.learn(8, 0.02)
    assert (cost.call(8), cost.call(100), cost.each) == (0.02, 0.02, 0.0)


@given(calls=st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 10)), max_size=100))
def test_no_call_is_ever_expected_to_take_less_than_no_time(calls: list[tuple[int, float]]) -> None:
    cost = Cost()
    for rows, seconds in calls:
        cost.learn(rows, seconds)
        assert cost.each >= 0
        assert cost.call(1) >= 0
        assert cost.call(1) <= cost.call(256)


@given(rate=st.floats(0.5, 100), burst=st.floats(1, 50), pauses=st.lists(st.floats(0, 3), max_size=200))
def test_no_more_is_taken_than_the_rate_and_the_burst_allow(rate: float, burst: float, pauses: list[float]) -> None:
    bucket = Bucket(rate, burst, 0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait == 0:
            taken += 1
        else:
            assert bucket.take(now + wait * 0.99) > 0
        assert taken <= burst + rate * now + 1e-6


def test_whoever_waits_as_long_as_told_is_let_in() -> None:
    bucket = Bucket(2.0, 1.0, 0.0)
    assert bucket.take(0.0) == 0
    wait = bucket.take(0.1)
    assert wait == pytest.approx(0.4)
    assert bucket.take(0.1 + wait + 1e-9) == 0


def test_each_tenant_has_limits_of_its_own() -> None:
    tenants = Tenants(rate=1.0, burst=2.0, inflight=0)
    assert [tenants.enter("ada", 0.0)[1] == 0 for _ in range(3)] == [True, True, False]
    assert tenants.enter("bob", 0.0)[1] == 0


def test_a_tenant_may_begin_another_request_when_one_has_ended() -> None:
    tenants = Tenants(rate=0.0, burst=0.0, inflight=2)
    first, _ = tenants.enter("ada", 0.0)
    assert tenants.enter("ada", 0.0)[1] == 0
    assert tenants.enter("ada", 0.0)[1] > 0
    first.underway -= 1
    assert tenants.enter("ada", 0.0)[1] == 0


def test_tenants_with_nothing_to_remember_are_forgotten_and_others_are_not() -> None:
    tenants = Tenants(rate=1.0, burst=1.0, inflight=0)
    busy, _ = tenants.enter("busy", 0.0)
    for number in range(tenants.MOST - 1):
        tenants.enter(str(number), 0.0)[0].underway -= 1
    tenants.enter("one more", 100.0)
    assert tenants.enter("busy", 100.0)[0] is busy


def test_resting_from_those_turned_away_bounds_what_they_cost_and_ends_with_the_storm() -> None:
    storm = Storm()
    # As many as there is time for are answered at once for ever, and some more in a burst.
    assert [storm.turned_away(0.0, 100) for _ in range(400)] == [0.0] * 400
    assert all(storm.turned_away(1.0 + number / 900, 100) == 0.0 for number in range(9000))
    rests = [storm.turned_away(12.0, 100) for _ in range(2000)]
    assert rests == sorted(rests)
    assert rests[-1] == pytest.approx(Storm.LONGEST)
    # Ten megabytes cost what many short ones do.
    assert Storm().turned_away(0.0, 10 << 20) > 0
    assert storm.turned_away(12.0 + Storm.LONGEST + 0.1, 100) == 0.0
