from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.upstream.rules import (
    FAILURES_TO_OPEN,
    FIRST_REST,
    LONGEST_PAUSE,
    LONGEST_REST,
    MOST_TRIES,
    Allowance,
    Circuit,
    Failed,
    pause_before_another,
    seconds_of,
)

UNSENT = Failed(began=False)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_server_that_says_it_cannot_just_now_is_asked_again(status: int):
    assert pause_before_another(Failed(began=True, status=status), 1, 0.5, 10.0) is not None


@pytest.mark.parametrize(
    "failed", [Failed(began=True), Failed(began=True, status=500), Failed(began=True, status=429, retry_after=0.1)]
)
def test_what_has_begun_or_was_refused_is_never_asked_again(failed: Failed):
    assert pause_before_another(failed, 1, 0.5, None) is None


@given(
    began=st.booleans(),
    status=st.none() | st.integers(200, 599),
    retry_after=st.none() | st.floats(0, 100),
    tries=st.integers(1, 10),
    chance=st.floats(0, 1, exclude_max=True),
    left=st.none() | st.floats(0, 60),
)
def test_a_repeat_always_fits_into_the_time_that_is_left(
    began: bool, status: int | None, retry_after: float | None, tries: int, chance: float, left: float | None
):
    pause = pause_before_another(Failed(began=began, status=status, retry_after=retry_after), tries, chance, left)
    if pause is None:
        return
    assert tries < MOST_TRIES
    assert 0 < pause <= LONGEST_PAUSE
    assert left is None or pause < left
    assert retry_after is None or pause >= retry_after
    assert status in (502, 503, 504) or (status is None and not began)


def test_pauses_grow_and_differ_by_chance():
    first, second = (pause_before_another(UNSENT, tries, 0.0, None) for tries in (1, 2))
    assert first is not None
    assert second == 2 * first
    assert pause_before_another(UNSENT, 1, 0.9, None) != first


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Sun, 22 Nov 2026 12:00:10 GMT", 10.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("9" * 40, None),
        (None, None),
    ],
)
def test_a_server_may_say_when_to_come_back(header: str | None, seconds: float | None):
    assert seconds_of(header, datetime(2026, 11, 22, 12, tzinfo=UTC)) == seconds


def test_repeats_are_a_tenth_of_the_requests_in_the_long_run():
    allowance = Allowance()
    made = 0
    for _ in range(1000):
        allowance.earn()
        made += allowance.spend()
    assert 100 <= made <= 110


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    for _ in range(FAILURES_TO_OPEN):
        assert circuit.wait(now) == 0
        circuit.failed(now)
    return circuit


def test_failures_in_a_row_close_the_way_and_a_success_between_them_does_not():
    circuit = Circuit()
    for _ in range(3 * FAILURES_TO_OPEN):
        for _ in range(FAILURES_TO_OPEN - 1):
            circuit.failed(0.0)
        circuit.succeeded()
    assert circuit.wait(0.0) == 0
    assert opened().wait(0.5) == pytest.approx(FIRST_REST - 0.5)


def test_after_the_rest_one_request_at_a_time_finds_out():
    circuit = opened()
    assert circuit.wait(FIRST_REST) == 0
    assert circuit.wait(FIRST_REST) > 0
    circuit.succeeded()
    assert not circuit.open
    assert circuit.wait(FIRST_REST) == circuit.wait(FIRST_REST) == 0


def test_each_failed_try_doubles_the_rest_up_to_a_bound():
    circuit, now, rests = opened(), 0.0, []
    for _ in range(8):
        rests.append(circuit.wait(now))
        now += rests[-1]
        assert circuit.wait(now) == 0
        circuit.failed(now)
    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests[-1] == LONGEST_REST


def test_a_try_whose_caller_went_away_lets_the_next_one_try():
    circuit = opened()
    assert circuit.wait(2.0) == 0
    circuit.abandoned()
    assert circuit.wait(2.0) == 0


def test_a_late_failure_from_before_does_not_prolong_the_rest():
    circuit = opened()
    circuit.failed(0.9)
    assert circuit.wait(FIRST_REST) == 0
