"""How every model does in every environment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lockgate.base.verdict import Verdict
from lockgate.base.window import minute_of
from lockgate.domain.alerting.records import Alert, AlertState
from lockgate.domain.gates.records import Endpoint, Promotion, PromotionState
from lockgate.domain.incidents.records import Incident, IncidentState
from lockgate.domain.monitoring.drift import check
from lockgate.domain.monitoring.findings import DriftReport
from lockgate.domain.monitoring.fleet import EndpointStanding, Fleet, ModelStanding, OnItsWay, judge
from lockgate.domain.monitoring.traffic import traffic_of
from lockgate.domain.registry.records import Model, Version
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.domain.routing.table import WHOLE, Role
from lockgate.ports import Store, Transaction
from lockgate.workflows.count_profiles import Counts, Minute, feature_sum, traffic_sum
from lockgate.workflows.set_environments import environments_of

#: Minutes that requests per minute, failures and latencies are taken over.
RECENT = 5
#: Minutes of the little picture of traffic, and those that drift is judged on.
PICTURE, DRIFT = 30, 10
_MOST = 10_000


def read_fleet(store: Store, counts: Counts, now: datetime) -> Fleet:
    """Everything at a glance, newest counts included."""
    with store.reading() as tx:
        models = tx.find(Model, limit=_MOST)
        endpoints = tx.find(Endpoint, limit=_MOST)
        awaiting = tx.find(Promotion, state=PromotionState.AWAITING_APPROVAL, limit=_MOST)
        newest = {model.id: tx.find(Version, model=model.id, order="-number", limit=1) for model in models}
        standings = [_endpoint(tx, counts, endpoint, now) for endpoint in endpoints]
        environments = environments_of(tx).names
    order = {name: place for place, name in enumerate(environments)}
    return Fleet(
        at=now,
        minutes=RECENT,
        environments=environments,
        models=tuple(
            ModelStanding(
                model=model.id,
                owner=model.owner,
                risk=model.risk.value,
                description=model.description,
                newest=newest[model.id][0].number if newest[model.id] else None,
                newest_state=newest[model.id][0].state.value if newest[model.id] else "",
                awaiting=tuple(promotion.id for promotion in awaiting if promotion.model == model.id),
                endpoints=tuple(
                    sorted(
                        (standing for standing in standings if standing.model == model.id),
                        key=lambda standing: order.get(standing.environment, len(order)),
                    )
                ),
            )
            for model in models
        ),
    )


def read_standing(store: Store, counts: Counts, endpoint_id: str, now: datetime) -> EndpointStanding:
    """One endpoint at a glance; raises NotFound."""
    with store.reading() as tx:
        return _endpoint(tx, counts, tx.get(Endpoint, endpoint_id), now)


def _endpoint(tx: Transaction, counts: Counts, endpoint: Endpoint, now: datetime) -> EndpointStanding:
    this = minute_of(now)
    minutes = counts.minutes(endpoint.id, this - PICTURE, this + 1)
    answered = [each for each in minutes if each.role == Role.LIVE.value]
    recent = [each for each in answered if each.minute > this - RECENT]
    traffic = traffic_of(traffic_sum(recent)) if recent else None
    incidents = tx.find(Incident, endpoint=endpoint.id, state=_UNRESOLVED, order="-opened_at")
    # An alert on a version that was rolled back is told by its incident; the endpoint is as well as what serves it.
    serving = [version for version in (endpoint.stable, endpoint.candidate) if version]
    alerts = tx.find(Alert, endpoint=endpoint.id, version=serving, state=AlertState.OPEN, order="-last_at")
    drift = _drift(tx, counts, endpoint, [each for each in answered if each.minute > this - DRIFT])
    on_its_way = _on_its_way(tx, endpoint)
    mitigated = sum(incident.state is IncidentState.MITIGATED for incident in incidents)
    drifted = tuple(found.feature for found in drift.drifted) if drift else ()
    health, sentence = judge(
        stable=endpoint.stable,
        on_its_way=on_its_way,
        incidents=len(incidents) - mitigated,
        mitigated=mitigated,
        alerts=tuple(alert.sentence for alert in alerts),
        drifted=drifted,
        traffic=traffic,
        minutes=RECENT,
    )
    return EndpointStanding(
        endpoint=endpoint.id,
        model=endpoint.model,
        environment=endpoint.environment,
        stable=endpoint.stable,
        previous=endpoint.previous,
        on_its_way=on_its_way,
        health=health,
        sentence=sentence,
        traffic=traffic,
        requests_per_minute=_per_minute(recent, this),
        recent=tuple(_requests(answered, this - PICTURE, this)),
        drift=drift.verdict if drift else Verdict.UNKNOWN,
        drift_sentence=drift.sentence if drift else "drift is unknown: this version has no baseline",
        drifted=drifted,
        open_alerts=tuple(alert.id for alert in alerts),
        open_incidents=tuple(incident.id for incident in incidents),
        changed_at=endpoint.updated_at,
    )


_UNRESOLVED = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED, IncidentState.MITIGATED)


def _on_its_way(tx: Transaction, endpoint: Endpoint) -> OnItsWay | None:
    if endpoint.rollout is None:
        return None
    rollout = tx.get(Rollout, endpoint.rollout)
    steps = rollout.strategy.steps
    if rollout.phase.over or rollout.step >= len(steps):
        return None
    step = steps[rollout.step]
    return OnItsWay(
        rollout=rollout.id,
        release=rollout.release,
        version=rollout.candidate,
        phase=rollout.phase.value,
        paused=rollout.paused or rollout.phase is Phase.HOLDING,
        step=rollout.step + 1,
        steps=len(steps),
        kind=step.kind.value,
        share=step.weight / WHOLE,
        reason=rollout.reason,
    )


def _drift(tx: Transaction, counts: Counts, endpoint: Endpoint, answered: list[Minute]) -> DriftReport | None:
    if endpoint.stable is None:
        return None
    baseline = counts.baseline(tx.get(Version, endpoint.stable))
    if baseline is None:
        return None
    return check(feature_sum([each for each in answered if each.version == endpoint.stable], baseline))


def _per_minute(recent: list[Minute], this: int) -> float | None:
    """Over whole minutes where there is one; the minute under way alone would look like less than it is."""
    whole = [each for each in recent if each.minute < this]
    if not whole:
        return None
    first = min(each.minute for each in whole)
    return sum(each.traffic.requests for each in whole) / (this - first)


def _requests(answered: Iterable[Minute], start: int, end: int) -> list[int | None]:
    found: dict[int, int] = {}
    for each in answered:
        found[each.minute] = found.get(each.minute, 0) + each.traffic.requests
    return [found.get(minute) for minute in range(start, end)]
