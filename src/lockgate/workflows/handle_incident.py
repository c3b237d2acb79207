"""What a person does to an incident: take it, write into it, close it."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.errors import Forbidden, Invalid, NotAllowedNow
from lockgate.domain.incidents.records import Incident, IncidentKind, IncidentState, TimelineEvent
from lockgate.ports import Store, Why

_LONGEST_NOTE = 10_000


def acknowledge_incident(store: Store, incident_id: str, why: Why) -> Incident:
    """Say that somebody is on it.

    Raises:
        NotFound: no such incident.
        NotAllowedNow: it is resolved.
    """
    with store.begin(why) as tx:
        before = _open(tx.get(Incident, incident_id))
        state = IncidentState.ACKNOWLEDGED if before.state is IncidentState.OPEN else before.state
        after = tx.save(
            replace(
                before,
                state=state,
                acknowledged_by=before.acknowledged_by or why.actor,
                timeline=(*before.timeline, _event("acknowledged", why.reason, why)),
            )
        )
        tx.record("incident.acknowledged", after, before=before, after=after)
        return after


def note_incident(store: Store, incident_id: str, note: str, why: Why) -> Incident:
    """Write a line into the timeline; raises NotFound, Invalid for an empty or endless note."""
    if not 0 < len(note.strip()) <= _LONGEST_NOTE:
        raise Invalid(f"a note has 1 to {_LONGEST_NOTE} characters")
    with store.begin(why) as tx:
        before = tx.get(Incident, incident_id)
        after = tx.save(replace(before, timeline=(*before.timeline, _event("note", note.strip(), why))))
        tx.record("incident.noted", after, before=before, after=after)
        return after


def resolve_incident(store: Store, incident_id: str, why: Why) -> Incident:
    """Close it, with what was found as the reason; raises as `acknowledge_incident`, and Forbidden where somebody
    reviews what they forced themselves."""
    with store.begin(why) as tx:
        before = _open(tx.get(Incident, incident_id))
        if before.kind is IncidentKind.BREAK_GLASS and why.actor == before.timeline[0].by:
            raise Forbidden(
                f"{why.actor} forced this promotion, so somebody else has to review it",
                hint="write down what you know as a note, and ask a second person",
            )
        after = tx.save(
            replace(
                before,
                state=IncidentState.RESOLVED,
                resolved_at=why.at,
                timeline=(*before.timeline, _event("resolved", why.reason, why)),
            )
        )
        tx.record("incident.resolved", after, before=before, after=after)
        return after


def _open(incident: Incident) -> Incident:
    if incident.state is IncidentState.RESOLVED:
        raise NotAllowedNow(f"{incident.id} is resolved already")
    return incident


def _event(kind: str, sentence: str, why: Why) -> TimelineEvent:
    return TimelineEvent(at=why.at, kind=kind, sentence=sentence, by=why.actor)
