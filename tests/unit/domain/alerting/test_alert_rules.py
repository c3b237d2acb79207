from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.base.errors import Invalid
from lockgate.domain.alerting.records import Alert, AlertState, Signal, SignalKind
from lockgate.domain.alerting.rules import QUIET, closed_if_quiet, fold

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def signal(minutes: float = 0, name: str = "age", *, kind: SignalKind = SignalKind.DRIFT) -> Signal:
    at = NOON + timedelta(minutes=minutes)
    return Signal(
        endpoint="m.prod",
        version="m:3",
        kind=kind,
        name=name,
        sentence=f"{name} at {minutes}",
        figures={"m": minutes},
        at=at,
    )


def alert_of(*signals: Signal) -> Alert:
    found: Alert | None = None
    for one in signals:
        found = fold(found, one, id="alert_1")
    assert found is not None
    return found


def test_a_first_signal_opens_an_alert() -> None:
    found = alert_of(signal())
    assert (found.id, found.state, found.count, found.names) == ("alert_1", AlertState.OPEN, 1, ("age",))
    assert found.opened_at == found.last_at == NOON


def test_more_signals_are_one_alert_that_tells_the_newest() -> None:
    found = alert_of(signal(0), signal(1, "sex"), signal(2, "age"))
    assert (found.count, found.names, found.sentence) == (3, ("age", "sex"), "age at 2")
    assert (found.opened_at, found.last_at) == (NOON, NOON + timedelta(minutes=2))


def test_a_late_signal_counts_but_does_not_change_what_is_told() -> None:
    found = alert_of(signal(5), signal(1, "sex"))
    assert (found.count, found.sentence, found.last_at) == (2, "age at 5", NOON + timedelta(minutes=5))
    assert found.names == ("age", "sex")


def test_a_signal_without_a_name_adds_none() -> None:
    assert alert_of(signal(0, ""), signal(1, "")).names == ()


def test_an_alert_closes_after_quiet_and_only_then() -> None:
    found = alert_of(signal())
    assert closed_if_quiet(found, NOON + QUIET - timedelta(seconds=1)) == found
    closed = closed_if_quiet(found, NOON + QUIET)
    assert (closed.state, closed.closed_at) == (AlertState.CLOSED, NOON + QUIET)
    assert closed_if_quiet(closed, NOON + 5 * QUIET) == closed


def test_a_signal_after_the_close_is_a_new_alert() -> None:
    closed = closed_if_quiet(alert_of(signal()), NOON + QUIET)
    again = fold(closed, signal(30), id="alert_2")
    assert (again.id, again.count, again.state) == ("alert_2", 1, AlertState.OPEN)


def test_a_signal_of_another_kind_does_not_belong() -> None:
    with pytest.raises(Invalid, match="alert_1"):
        fold(alert_of(signal()), signal(kind=SignalKind.ERRORS), id="alert_2")


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["age", "sex", ""])), min_size=1, max_size=20))
def test_no_signal_is_lost_in_any_order(given: list[tuple[int, str]]) -> None:
    found = alert_of(*(signal(minutes, name) for minutes, name in given))
    assert found.count == len(given)
    assert set(found.names) == {name for _, name in given if name}
    assert found.last_at == NOON + timedelta(minutes=max(minutes for minutes, _ in given))
