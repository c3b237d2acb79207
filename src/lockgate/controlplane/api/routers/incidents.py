"""Alerts and incidents."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import LATER, AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.controlplane.api.routers.promotions import ReasonIn
from lockgate.domain.access.records import Action
from lockgate.domain.alerting.records import Alert, AlertState
from lockgate.domain.incidents.records import Incident, IncidentState
from lockgate.workflows.handle_incident import acknowledge_incident, note_incident, resolve_incident

router = declared_router("", tag="incidents")


class NoteIn(BaseModel):
    """A line for the timeline."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(max_length=20_000)


@router.get("/alerts")
@needs(Action.VIEW)
def list_alerts(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    endpoint: Annotated[str | None, Query(max_length=200)] = None,
    state: Annotated[AlertState | None, Query()] = None,
) -> Page[Alert]:
    """Alerts, newest first."""
    with access.parts.store.reading() as tx:
        found = tx.find(
            Alert, order="-opened_at", limit=limit + 1, after=after, **_where(endpoint=endpoint, state=state)
        )
        return records_page(found, limit)


@router.get("/alerts/{alert}")
@needs(Action.VIEW)
def show_alert(alert: str, access: AccessTo) -> Alert:
    """One alert, with the figures of its newest signal."""
    with access.parts.store.reading() as tx:
        return tx.get(Alert, alert)


@router.get("/incidents")
@needs(Action.VIEW)
def list_incidents(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    endpoint: Annotated[str | None, Query(max_length=200)] = None,
    state: Annotated[IncidentState | None, Query()] = None,
) -> Page[Incident]:
    """Incidents, newest first."""
    with access.parts.store.reading() as tx:
        found = tx.find(
            Incident, order="-opened_at", limit=limit + 1, after=after, **_where(endpoint=endpoint, state=state)
        )
        return records_page(found, limit)


@router.get("/incidents/{incident}")
@needs(Action.VIEW)
def show_incident(incident: str, access: AccessTo) -> Incident:
    """One incident with its timeline."""
    with access.parts.store.reading() as tx:
        return tx.get(Incident, incident)


@router.post("/incidents/{incident}/acknowledge")
@needs(Action.OPERATE, environment=LATER)
def acknowledge(incident: str, body: ReasonIn, access: AccessTo) -> Incident:
    """Say that somebody is on it."""
    _require(incident, access)
    return acknowledge_incident(access.parts.store, incident, access.why(body.reason))


@router.post("/incidents/{incident}/notes")
@needs(Action.OPERATE, environment=LATER)
def note(incident: str, body: NoteIn, access: AccessTo) -> Incident:
    """Write a line into the timeline."""
    _require(incident, access)
    return note_incident(access.parts.store, incident, body.note, access.why("a note"))


@router.post("/incidents/{incident}/resolve")
@needs(Action.OPERATE, environment=LATER)
def resolve(incident: str, body: ReasonIn, access: AccessTo) -> Incident:
    """Close it, with what was found as the reason."""
    _require(incident, access)
    return resolve_incident(access.parts.store, incident, access.why(body.reason))


def _where(**asked: Any) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


def _require(incident: str, access: AccessTo) -> None:
    with access.parts.store.reading() as tx:
        known = tx.get(Incident, incident)
    access.require(environment=known.environment)
