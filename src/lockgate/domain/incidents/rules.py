"""Whether the platform undoes a release by itself, calls a person, or lets things be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.domain.alerting.records import MAY_ROLL_BACK, Alert, AlertState
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.incidents.records import Incident


@dataclass(frozen=True, kw_only=True, slots=True)
class RollBack:
    """Give the endpoint back to its previous version."""

    version: str
    to: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Call a person. The same reason as last time is no news."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Nothing:
    """There is nothing to do."""

    reason: str


Decision = RollBack | Page | Nothing


def decide(
    incident: Incident | None,
    alerts: Sequence[Alert],
    endpoint: Endpoint,
    *,
    previous_has_open_alert: bool,
    human_acted: bool,
) -> Decision:
    """Decide on the open alerts of an endpoint.

    Errors, latency and labelled quality of the version in service may undo it; drift and the rest only call a person.
    It happens once an incident, never onto a version that has an open alert itself, and never over a person's head.

    Args:
        incident: the endpoint's open incident, if there is one.
        alerts: the endpoint's alerts; closed ones, and ones on versions that are not fully in service, do not count: a
            candidate is judged by its rollout's guards.
        endpoint: which version is in service, and which was before.
        previous_has_open_alert: whether the version to go back to has an open alert, on this endpoint.
        human_acted: whether a person has said that they are on it.
    """
    counted = [alert for alert in alerts if alert.state is AlertState.OPEN and alert.version == endpoint.stable]
    if endpoint.stable is None or not counted:
        return Nothing(reason=f"no open alert on the version that serves {endpoint.id}")
    grave = [alert for alert in counted if alert.kind in MAY_ROLL_BACK]
    if not grave:
        kinds = sorted({alert.kind.value.replace("_", " ") for alert in counted})
        verb = "undoes" if len(kinds) == 1 else "undo"
        return Page(reason=f"{' and '.join(kinds)} alone {verb} nothing: {_tell(counted)}")
    breach = _tell(grave)
    if human_acted:
        return Page(reason=f"a person is at work on it: {breach}")
    if incident is not None and incident.rolled_back:
        return Page(reason=f"this incident had its one automatic rollback: {breach}")
    if endpoint.previous is None or endpoint.previous == endpoint.stable:
        return Page(reason=f"there is no previous version to go back to: {breach}")
    if previous_has_open_alert:
        return Page(reason=f"{endpoint.previous}, the version before, has an open alert itself: {breach}")
    return RollBack(version=endpoint.stable, to=endpoint.previous, reason=breach)


def _tell(alerts: Sequence[Alert]) -> str:
    return "; ".join(alert.sentence for alert in alerts)
