"""Waivers, and promotions that are forced."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import LATER, AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.controlplane.api.routers.promotions import ReasonIn
from lockgate.domain.access.records import Action
from lockgate.domain.gates.records import Promotion
from lockgate.domain.gates.waivers import Waiver, WaiverState
from lockgate.workflows.break_glass import break_glass
from lockgate.workflows.handle_waiver import WaiverWish, decide_waiver, request_waiver, revoke_waiver

router = declared_router("", tag="waivers")


class WaiverIn(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=63)
    environment: str = Field(max_length=63)
    #: Kind of the gate, and which one of the kind; every one where no name is given.
    gate: str = Field(max_length=63)
    name: str = Field(default="", max_length=100)
    #: The only version it is for, like thyroid:3.
    version: str | None = Field(default=None, max_length=100)
    expires_at: datetime
    reason: str = Field(min_length=1, max_length=1000)


@router.post("/waivers", status_code=201)
@needs(Action.PROMOTE, environment=LATER)
def ask_waiver(body: WaiverIn, access: AccessTo) -> Waiver:
    """Ask that a gate may be passed by without its pass, for a time."""
    access.require(environment=body.environment)
    wish = WaiverWish(**body.model_dump(exclude={"reason"}))
    return request_waiver(access.parts.store, access.parts.ids, access.parts.configs, wish, access.why(body.reason))


@router.get("/waivers")
@needs(Action.VIEW)
def list_waivers(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    model: Annotated[str | None, Query(max_length=63)] = None,
    environment: Annotated[str | None, Query(max_length=63)] = None,
    state: Annotated[WaiverState | None, Query()] = None,
) -> Page[Waiver]:
    """Waivers, newest first. One that is past its time counts no longer, whatever its state."""
    asked: dict[str, Any] = {"model": model, "environment": environment, "state": state}
    where = {name: value for name, value in asked.items() if value is not None}
    with access.parts.store.reading() as tx:
        return records_page(tx.find(Waiver, order="-created_at", limit=limit + 1, after=after, **where), limit)


@router.get("/waivers/{waiver}")
@needs(Action.VIEW)
def show_waiver(waiver: str, access: AccessTo) -> Waiver:
    """One waiver: who asked, who answers for it, why and until when."""
    with access.parts.store.reading() as tx:
        return tx.get(Waiver, waiver)


@router.post("/waivers/{waiver}/approve")
@needs(Action.APPROVE, environment=LATER)
def approve_waiver(waiver: str, body: ReasonIn, access: AccessTo) -> Waiver:
    """Answer for a waiver that somebody else asked for."""
    _require(waiver, access)
    why, person = access.why(body.reason), access.caller.person
    return decide_waiver(access.parts.store, waiver, why, approve=True, person=person)


@router.post("/waivers/{waiver}/reject")
@needs(Action.APPROVE, environment=LATER)
def reject_waiver(waiver: str, body: ReasonIn, access: AccessTo) -> Waiver:
    """Turn a waiver down."""
    _require(waiver, access)
    why, person = access.why(body.reason), access.caller.person
    return decide_waiver(access.parts.store, waiver, why, approve=False, person=person)


@router.post("/waivers/{waiver}/revoke")
@needs(Action.APPROVE, environment=LATER)
def take_back_waiver(waiver: str, body: ReasonIn, access: AccessTo) -> Waiver:
    """Take an approved waiver back."""
    _require(waiver, access)
    return revoke_waiver(access.parts.store, waiver, access.why(body.reason))


@router.post("/promotions/{promotion}/force")
@needs(Action.OVERRIDE, environment=LATER)
def force(promotion: str, body: ReasonIn, access: AccessTo) -> Promotion:
    """Break the glass: release a refused or waiting promotion at once. Somebody else has to review it afterwards."""
    parts = access.parts
    with parts.store.reading() as tx:
        known = tx.get(Promotion, promotion)
    access.require(environment=known.environment)
    why, person = access.why(body.reason), access.caller.person
    done = break_glass(parts.store, parts.ids, parts.configs, promotion, why, person=person)
    parts.news.ring()
    return done


def _require(waiver: str, access: AccessTo) -> None:
    with access.parts.store.reading() as tx:
        known = tx.get(Waiver, waiver)
    access.require(environment=known.environment, requested_by=known.requested_by)
