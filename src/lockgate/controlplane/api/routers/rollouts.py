"""Endpoints, rollouts, route generations and labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import LATER, AccessTo, declared_router, named_in_path, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.controlplane.api.routers.promotions import ReasonIn
from lockgate.domain.access.records import Action
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.rollout.records import Rollout
from lockgate.domain.routing.table import RouteTable
from lockgate.workflows.abort_rollout import abort_rollout
from lockgate.workflows.add_labels import add_labels
from lockgate.workflows.pause_rollout import continue_rollout, pause_rollout
from lockgate.workflows.roll_back import roll_back

router = declared_router("", tag="rollouts")


class RollbackIn(ReasonIn):
    """Where to go back to: the version before, or one by its id."""

    to: str | None = Field(default=None, max_length=100)


class LabelIn(BaseModel):
    """The truth about one prediction."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: str = Field(max_length=64)
    value: str = Field(max_length=1000)


class LabelsIn(BaseModel):
    """The truth about some predictions."""

    model_config = ConfigDict(extra="forbid")

    labels: list[LabelIn] = Field(max_length=10_000)


class LabelsTaken(BaseModel):
    """What came of it."""

    received: int
    #: New, or other than what was known.
    changed: int


@router.get("/endpoints")
@needs(Action.VIEW)
def list_endpoints(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    model: Annotated[str | None, Query(max_length=63)] = None,
) -> Page[Endpoint]:
    """What callers can address, by name."""
    where = {} if model is None else {"model": model}
    with access.parts.store.reading() as tx:
        return records_page(tx.find(Endpoint, limit=limit + 1, after=after, **where), limit)


@router.get("/endpoints/{endpoint}")
@needs(Action.VIEW)
def show_endpoint(endpoint: str, access: AccessTo) -> Endpoint:
    """One endpoint: which version answers, which came before, what is on its way."""
    with access.parts.store.reading() as tx:
        return tx.get(Endpoint, endpoint)


@router.post("/endpoints/{endpoint}/rollback")
@needs(Action.OPERATE, environment=named_in_path("endpoint"))
def undo(endpoint: str, body: RollbackIn, access: AccessTo) -> RouteTable:
    """Undo the newest change: abort the rollout under way, or go back to the version before."""
    table = roll_back(access.parts.store, endpoint, access.why(body.reason), to=body.to)
    access.parts.news.ring()
    return table


@router.post("/endpoints/{endpoint}/labels")
@needs(Action.LABEL, environment=named_in_path("endpoint"))
def label(endpoint: str, body: LabelsIn, access: AccessTo) -> LabelsTaken:
    """Bring the truth about predictions, whenever it is known."""
    parts = access.parts
    values = {item.prediction_id: item.value for item in body.labels}
    changed = add_labels(parts.store, parts.labels, endpoint, values, access.why("labels"))
    return LabelsTaken(received=len(values), changed=changed)


@router.get("/rollouts")
@needs(Action.VIEW)
def list_rollouts(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    endpoint: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[Rollout]:
    """Rollouts, newest first."""
    where = {} if endpoint is None else {"endpoint": endpoint}
    with access.parts.store.reading() as tx:
        return records_page(tx.find(Rollout, order="-created_at", limit=limit + 1, after=after, **where), limit)


@router.get("/rollouts/{rollout}")
@needs(Action.VIEW)
def show_rollout(rollout: str, access: AccessTo) -> Rollout:
    """One rollout: its steps, where it stands, and the figures of the last decision."""
    with access.parts.store.reading() as tx:
        return tx.get(Rollout, rollout)


@router.post("/rollouts/{rollout}/abort")
@needs(Action.OPERATE, environment=LATER)
def abort(rollout: str, body: ReasonIn, access: AccessTo) -> RouteTable:
    """Give the stable version all of the traffic back."""
    _require(rollout, access)
    table = abort_rollout(access.parts.store, rollout, access.why(body.reason))
    access.parts.news.ring()
    return table


@router.post("/rollouts/{rollout}/pause")
@needs(Action.OPERATE, environment=LATER)
def pause(rollout: str, body: ReasonIn, access: AccessTo) -> Rollout:
    """Hold a rollout where it is; its guards go on and may still abort it."""
    _require(rollout, access)
    return pause_rollout(access.parts.store, rollout, access.why(body.reason))


@router.post("/rollouts/{rollout}/continue")
@needs(Action.OPERATE, environment=LATER)
def go_on(rollout: str, body: ReasonIn, access: AccessTo) -> Rollout:
    """Let a held rollout go on."""
    _require(rollout, access)
    return continue_rollout(access.parts.store, rollout, access.why(body.reason))


@router.get("/routes")
@needs(Action.VIEW)
def list_routes(access: AccessTo, limit: Limit = DEFAULT_LIMIT, after: After = None) -> Page[RouteTable]:
    """Route generations, newest first."""
    with access.parts.store.reading() as tx:
        return records_page(tx.find(RouteTable, order="-generation", limit=limit + 1, after=after), limit)


@router.get("/routes/{generation}")
@needs(Action.VIEW)
def show_route(generation: int, access: AccessTo) -> RouteTable:
    """One generation: who answered what share of which endpoint."""
    with access.parts.store.reading() as tx:
        return tx.get(RouteTable, str(generation))


def _require(rollout: str, access: AccessTo) -> None:
    with access.parts.store.reading() as tx:
        known = tx.get(Rollout, rollout)
    access.require(environment=known.environment)
