"""Watch what is live: turn breaches into alerts, alerts into incidents, and grave ones into a rollback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lockgate.base.clock import Clock
from lockgate.base.errors import CorruptArtifact, Invalid, NotFound
from lockgate.base.ids import Ids
from lockgate.domain.alerting.records import Alert, AlertState, Signal, SignalKind
from lockgate.domain.alerting.rules import closed_if_quiet, fold
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.incidents.records import Incident, IncidentKind, IncidentState, TimelineEvent
from lockgate.domain.incidents.rules import Page, RollBack, decide
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.ports import Store, Transaction, Why
from lockgate.workflows.find_signals import SignalFinder
from lockgate.workflows.roll_back import roll_back_in

_ACTOR = "lockgate"
#: How often an alert that goes on is written down again, in seconds.
_REFRESH_SECONDS = 60.0
#: States of an incident that is not over.
_OPEN = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED, IncidentState.MITIGATED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What one look at everything came to."""

    rolled_back: int
    #: Endpoint -> why nothing could be said of it.
    unseen: dict[str, str]


def watch_endpoints(store: Store, finder: SignalFinder, ids: Ids, clock: Clock) -> Watched:
    """Look at every live endpoint once. One whose counts cannot be read holds up no other."""
    with store.reading() as tx:
        endpoints = [endpoint for endpoint in tx.find(Endpoint, limit=100_000) if endpoint.stable]
    rolled_back, unseen = 0, dict[str, str]()
    for endpoint in endpoints:
        try:
            signals, trouble = finder.find(endpoint, clock.now())
            if trouble:
                unseen[endpoint.id] = trouble
            rolled_back += _watch(store, ids, clock, endpoint, signals)
        except (Invalid, CorruptArtifact, NotFound) as error:
            unseen[endpoint.id] = error.message
    return Watched(rolled_back=rolled_back, unseen=unseen)


def _watch(store: Store, ids: Ids, clock: Clock, endpoint: Endpoint, signals: Sequence[Signal]) -> bool:
    now = clock.now()
    with store.reading() as tx:
        known = tx.find(Alert, endpoint=endpoint.id, state=AlertState.OPEN)
    if not signals and not known:
        return False
    why = Why(actor=_ACTOR, reason=_summary(signals), at=now)
    if not _anything_new(signals, known, why):
        return False
    with store.begin(why) as tx:
        # Somebody may have changed the endpoint while its counts were read.
        fresh = tx.get(Endpoint, endpoint.id)
        alerts = _fold_all(tx, ids, signals, why, endpoint.id)
        incident = _incident(tx, ids, fresh, alerts, why)
        return incident is not None and _act(tx, fresh, incident, alerts, why)


def _summary(signals: Sequence[Signal]) -> str:
    return "; ".join(signal.sentence for signal in signals)[:2000] or "quiet again"


def _anything_new(signals: Sequence[Signal], known: Sequence[Alert], why: Why) -> bool:
    """Whether there is more to write down than that a breach goes on: the ledger is no time series."""
    latest = {(alert.version, alert.kind): alert for alert in known}
    for signal in signals:
        alert = latest.get((signal.version, signal.kind))
        if alert is None or (signal.name not in alert.names and signal.name):
            return True
        # Often enough that a quiet alert can be told from one that goes on.
        if (why.at - alert.last_at).total_seconds() >= _REFRESH_SECONDS:
            return True
    return any(closed_if_quiet(alert, why.at) is not alert for alert in known)


def _fold_all(tx: Transaction, ids: Ids, signals: Sequence[Signal], why: Why, endpoint: str) -> list[Alert]:
    """Every alert of the endpoint that is open after this look."""
    alerts = {(alert.version, alert.kind): alert for alert in tx.find(Alert, endpoint=endpoint, state=AlertState.OPEN)}
    touched = dict(alerts)
    for signal in signals:
        key = (signal.version, signal.kind)
        touched[key] = fold(touched.get(key), signal, id=ids.new("alert", why.at))
    kept: list[Alert] = []
    for key, alert in touched.items():
        after = closed_if_quiet(alert, why.at)
        before = alerts.get(key)
        if before is None:
            after = tx.add(after)
            tx.record("alert.opened", after, after=after)
        elif after != before:
            after = tx.save(after)
            word = "closed" if after.state is AlertState.CLOSED else "continued"
            tx.record(f"alert.{word}", after, before=before, after=after)
        if after.state is AlertState.OPEN:
            kept.append(after)
    return kept


def _incident(tx: Transaction, ids: Ids, endpoint: Endpoint, alerts: Sequence[Alert], why: Why) -> Incident | None:
    """The open incident of the version in service, with all its alerts; opened when something burns and none is."""
    found = tx.find(
        Incident, endpoint=endpoint.id, version=endpoint.stable or "", state=_OPEN, order="-opened_at", limit=100
    )
    found = [incident for incident in found if incident.kind is IncidentKind.ALERT]
    counted = [alert for alert in alerts if alert.version == endpoint.stable]
    if not found:
        return _open_incident(tx, ids, endpoint, counted, why) if counted else None
    incident = found[0]
    fresh = [alert for alert in counted if alert.id not in incident.alerts]
    if not fresh:
        return incident
    events = tuple(TimelineEvent(at=why.at, kind="alert", sentence=alert.sentence, by=_ACTOR) for alert in fresh)
    after = tx.save(
        replace(
            incident,
            alerts=(*incident.alerts, *(alert.id for alert in fresh)),
            timeline=(*incident.timeline, *events),
        )
    )
    tx.record("incident.grew", after, before=incident, after=after)
    _link(tx, fresh, after)
    return after


def _open_incident(tx: Transaction, ids: Ids, endpoint: Endpoint, alerts: Sequence[Alert], why: Why) -> Incident:
    kinds = " and ".join(sorted({alert.kind.value.replace("_", " ") for alert in alerts}))
    incident = tx.add(
        Incident(
            id=ids.new("incident", why.at),
            endpoint=endpoint.id,
            model=endpoint.model,
            environment=endpoint.environment,
            version=endpoint.stable or "",
            title=f"{kinds} on {endpoint.id} ({endpoint.stable})",
            state=IncidentState.OPEN,
            alerts=tuple(alert.id for alert in alerts),
            timeline=tuple(
                TimelineEvent(at=why.at, kind="alert", sentence=alert.sentence, by=_ACTOR) for alert in alerts
            ),
            opened_at=why.at,
        )
    )
    tx.record("incident.opened", incident, after=incident)
    _link(tx, alerts, incident)
    return incident


def _link(tx: Transaction, alerts: Sequence[Alert], incident: Incident) -> None:
    for alert in alerts:
        tx.save(replace(alert, incident=incident.id))


def _act(tx: Transaction, endpoint: Endpoint, incident: Incident, alerts: Sequence[Alert], why: Why) -> bool:
    _pause_for_drift(tx, endpoint, alerts, why)
    decision = decide(
        incident,
        alerts,
        endpoint,
        previous_has_open_alert=any(alert.version == endpoint.previous for alert in alerts),
        human_acted=incident.acknowledged_by != "",
    )
    if isinstance(decision, RollBack):
        roll_back_in(tx, endpoint.id, replace(why, reason=decision.reason), to=decision.to)
        told = f"rolled back from {decision.version} to {decision.to}: {decision.reason}"
        after = tx.save(
            replace(
                incident,
                rolled_back=True,
                state=IncidentState.MITIGATED,
                timeline=(*incident.timeline, TimelineEvent(at=why.at, kind="rollback", sentence=told, by=_ACTOR)),
            )
        )
        tx.record("incident.mitigated", after, before=incident, after=after)
        return True
    if isinstance(decision, Page) and _is_news(incident, why):
        event = TimelineEvent(at=why.at, kind="page", sentence=decision.reason, by=_ACTOR)
        after = tx.save(replace(incident, timeline=(*incident.timeline, event)))
        tx.record("incident.paged", after, before=incident, after=after)
    return False


def _is_news(incident: Incident, why: Why) -> bool:
    """Whether nobody was called yet, or something broke since; figures that move are no reason to call again."""
    paged = any(event.kind == "page" for event in incident.timeline)
    return not paged or any(event.kind == "alert" and event.at == why.at for event in incident.timeline)


def _pause_for_drift(tx: Transaction, endpoint: Endpoint, alerts: Sequence[Alert], why: Why) -> None:
    """Hold a rollout when drift has just begun; a person who lets it go on is not overruled."""
    begun = [alert for alert in alerts if alert.kind is SignalKind.DRIFT and alert.opened_at == why.at]
    if not begun or endpoint.rollout is None:
        return
    rollout = tx.get(Rollout, endpoint.rollout)
    if rollout.phase.over or rollout.paused:
        return
    told = f"paused, for the data drift and a person should look: {begun[0].sentence}"
    after = tx.save(replace(rollout, paused=True, phase=Phase.HOLDING, reason=told))
    tx.record("rollout.paused", after, before=rollout, after=after)
