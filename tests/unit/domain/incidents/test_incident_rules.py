from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.domain.alerting.records import MAY_ROLL_BACK, Alert, AlertState, SignalKind
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.incidents.records import Incident, IncidentState
from lockgate.domain.incidents.rules import Decision, Nothing, Page, RollBack, decide

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ENDPOINT = Endpoint(id="m.prod", model="m", environment="prod", stable="m:3", previous="m:2", updated_at=NOON)
INCIDENT = Incident(
    id="inc_1",
    endpoint="m.prod",
    model="m",
    environment="prod",
    version="m:3",
    title="quality",
    state=IncidentState.OPEN,
    opened_at=NOON,
)


def alert(kind: SignalKind, version: str = "m:3", state: AlertState = AlertState.OPEN) -> Alert:
    return Alert(
        id=f"alert_{kind}",
        endpoint="m.prod",
        version=version,
        kind=kind,
        state=state,
        sentence=f"{kind} broke",
        opened_at=NOON,
        last_at=NOON,
    )


def decided(
    *alerts: Alert,
    incident: Incident | None = INCIDENT,
    endpoint: Endpoint = ENDPOINT,
    previous_has_open_alert: bool = False,
    human_acted: bool = False,
) -> Decision:
    return decide(incident, alerts, endpoint, previous_has_open_alert=previous_has_open_alert, human_acted=human_acted)


@pytest.mark.parametrize("kind", sorted(MAY_ROLL_BACK))
def test_errors_latency_and_labelled_quality_roll_back(kind: SignalKind) -> None:
    found = decided(alert(kind), alert(SignalKind.DRIFT))
    assert found == RollBack(version="m:3", to="m:2", reason=f"{kind} broke")


@pytest.mark.parametrize("kind", sorted(set(SignalKind) - MAY_ROLL_BACK))
def test_drift_and_the_rest_only_call_a_person(kind: SignalKind) -> None:
    found = decided(alert(kind))
    assert isinstance(found, Page)
    assert f"{kind} broke" in found.reason


def test_it_works_before_there_is_an_incident() -> None:
    assert isinstance(decided(alert(SignalKind.ERRORS), incident=None), RollBack)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"incident": replace(INCIDENT, rolled_back=True)}, "had its one automatic rollback"),
        ({"previous_has_open_alert": True}, "has an open alert itself"),
        ({"human_acted": True}, "a person is at work"),
        ({"endpoint": replace(ENDPOINT, previous=None)}, "no previous version"),
        ({"endpoint": replace(ENDPOINT, previous="m:3")}, "no previous version"),
    ],
)
def test_a_person_is_called_where_it_may_not_roll_back(change: dict[str, object], why: str) -> None:
    found = decided(alert(SignalKind.QUALITY), **change)  # type: ignore[arg-type]
    assert isinstance(found, Page)
    assert why in found.reason


def test_closed_alerts_and_other_versions_count_for_nothing() -> None:
    assert isinstance(decided(), Nothing)
    assert isinstance(decided(alert(SignalKind.ERRORS, state=AlertState.CLOSED)), Nothing)
    assert isinstance(decided(alert(SignalKind.ERRORS, version="m:4")), Nothing)
    assert isinstance(decided(alert(SignalKind.ERRORS), endpoint=replace(ENDPOINT, stable=None)), Nothing)


@given(
    st.lists(
        st.tuples(st.sampled_from(SignalKind), st.sampled_from(["m:2", "m:3", "m:4"]), st.sampled_from(AlertState))
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "m:2", "m:3"]),
)
def test_it_never_rolls_back_against_the_rules(
    alerts: list[tuple[SignalKind, str, AlertState]],
    rolled_back: bool,
    bad_before: bool,
    human: bool,
    previous: str | None,
) -> None:
    found = decided(
        *(alert(kind, version, state) for kind, version, state in alerts),
        incident=replace(INCIDENT, rolled_back=rolled_back),
        endpoint=replace(ENDPOINT, previous=previous),
        previous_has_open_alert=bad_before,
        human_acted=human,
    )
    if isinstance(found, RollBack):
        assert [rolled_back, bad_before, human] == [False] * 3
        assert (found.version, found.to) == ("m:3", "m:2")
        assert any(
            kind in MAY_ROLL_BACK and version == "m:3" and state is AlertState.OPEN for kind, version, state in alerts
        )
