"""Force a promotion past its gates and signatures. Somebody else has to review it afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from lockgate.base.ids import Ids
from lockgate.domain.gates.records import Forced, Promotion
from lockgate.domain.gates.rules import may_force, may_request
from lockgate.domain.incidents.records import Incident, IncidentKind, IncidentState, TimelineEvent
from lockgate.domain.registry.records import Version
from lockgate.domain.routing.table import endpoint_name
from lockgate.ports import ConfigReader, Store, Transaction, Why
from lockgate.workflows.release_version import known_endpoint, release_in
from lockgate.workflows.request_promotion import released_in
from lockgate.workflows.set_environments import environments_of

#: The review is due after so long.
REVIEW_WITHIN = timedelta(days=3)

_UNRESOLVED = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED, IncidentState.MITIGATED)


def break_glass(
    store: Store, ids: Ids, configs: ConfigReader, promotion_id: str, why: Why, *, person: bool
) -> Promotion:
    """Release a refused or waiting promotion at once, on one person's word. Its rollout is guarded as any other.

    The chain of environments holds all the same, and so does a rollout under way. An incident is opened in which
    somebody else has to review what was done; until then nothing of this model can be forced again.

    Raises:
        NotFound: no such promotion.
        Forbidden: a machine asks.
        NotAllowedNow: it was neither refused nor waits, or the last time was not reviewed yet.
    """
    with store.begin(why) as tx:
        before = tx.get(Promotion, promotion_id)
        version = tx.get(Version, before.version)
        endpoint = known_endpoint(tx, before)
        under_way = endpoint.candidate if endpoint and endpoint.rollout else None
        may_force(before, person=person, review=_unreviewed(tx, before.model), rollout=under_way).demand()
        may_request(before.environment, released_in(tx, version), environments_of(tx)).demand()
        review = _open_review(tx, ids, before, why)
        forced = Forced(by=why.actor, at=why.at, reason=why.reason, past=before.sentence, review=review.id)
        asked = tx.save(replace(before, forced=forced))
        tx.record("promotion.forced", asked, before=before, after=asked)
        note = f", forced by {why.actor}: {why.reason}. {review.id} has to review it until {review.due_at:%Y-%m-%d}"
        return release_in(tx, ids, configs.read(version.config), asked, version, why, note=note)


def _unreviewed(tx: Transaction, model: str) -> str | None:
    open_ones = tx.find(Incident, model=model, state=_UNRESOLVED, limit=1000)
    return next((incident.id for incident in open_ones if incident.kind is IncidentKind.BREAK_GLASS), None)


def _open_review(tx: Transaction, ids: Ids, promotion: Promotion, why: Why) -> Incident:
    told = f"{why.actor} forced {promotion.version} into {promotion.environment}: {why.reason}"
    past = f"what stood in its way: {promotion.sentence}"
    review = tx.add(
        Incident(
            id=ids.new("incident", why.at),
            kind=IncidentKind.BREAK_GLASS,
            endpoint=endpoint_name(promotion.model, promotion.environment),
            model=promotion.model,
            environment=promotion.environment,
            version=promotion.version,
            title=f"{promotion.version} was forced into {promotion.environment} by {why.actor}; review it",
            state=IncidentState.OPEN,
            timeline=(
                TimelineEvent(at=why.at, kind="break-glass", sentence=told, by=why.actor),
                TimelineEvent(at=why.at, kind="state", sentence=past, by="lockgate"),
            ),
            opened_at=why.at,
            due_at=why.at + REVIEW_WITHIN,
        )
    )
    tx.record("incident.opened", review, after=review)
    return review
