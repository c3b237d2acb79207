"""Promotions, approvals and releases."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import LATER, AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.domain.access.records import Action
from lockgate.domain.gates.records import Promotion, PromotionState, Release
from lockgate.domain.registry.records import version_id
from lockgate.workflows.approve_promotion import approve_promotion, reject_promotion
from lockgate.workflows.request_promotion import request_promotion

router = declared_router("", tag="promotions")

_REASON = Field(min_length=1, max_length=1000)


class PromotionIn(BaseModel):
    """A version to put forward."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=63)
    version: int = Field(ge=1)
    environment: str = Field(max_length=63)
    reason: str = _REASON


class Requested(BaseModel):
    """The promotion and the job that judges it."""

    promotion: Promotion
    job: str


class SignatureIn(BaseModel):
    """What a person signs: the report that they read."""

    model_config = ConfigDict(extra="forbid")

    report: str = Field(max_length=200)
    reason: str = _REASON


class ReasonIn(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: str = _REASON


@router.post("/promotions", status_code=202)
@needs(Action.PROMOTE, environment=LATER)
def promote(body: PromotionIn, access: AccessTo) -> Requested:
    """Ask that a version goes to an environment; its gates start to work."""
    access.require(environment=body.environment)
    parts = access.parts
    version = version_id(body.model, body.version)
    promotion, job = request_promotion(
        parts.store, parts.jobs, parts.ids, parts.configs, version, body.environment, access.why(body.reason)
    )
    return Requested(promotion=promotion, job=job)


@router.get("/promotions")
@needs(Action.VIEW)
def list_promotions(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    model: Annotated[str | None, Query(max_length=63)] = None,
    version: Annotated[str | None, Query(max_length=100)] = None,
    environment: Annotated[str | None, Query(max_length=63)] = None,
    state: Annotated[PromotionState | None, Query()] = None,
) -> Page[Promotion]:
    """Promotions, newest first."""
    asked: dict[str, Any] = {"model": model, "version": version, "environment": environment, "state": state}
    where = {name: value for name, value in asked.items() if value is not None}
    with access.parts.store.reading() as tx:
        found = tx.find(Promotion, order="-created_at", limit=limit + 1, after=after, **where)
        return records_page(found, limit)


@router.get("/promotions/{promotion}")
@needs(Action.VIEW)
def show_promotion(promotion: str, access: AccessTo) -> Promotion:
    """One promotion: where it stands and why."""
    with access.parts.store.reading() as tx:
        return tx.get(Promotion, promotion)


@router.post("/promotions/{promotion}/approve")
@needs(Action.APPROVE, environment=LATER)
def approve(promotion: str, body: SignatureIn, access: AccessTo) -> Promotion:
    """Sign a promotion, bound to the report that was read; the last signature needed releases it."""
    parts = access.parts
    _require(promotion, access)
    signed = approve_promotion(
        parts.store,
        parts.ids,
        parts.configs,
        promotion,
        body.report,
        access.why(body.reason),
        person=access.caller.person,
    )
    parts.news.ring()
    return signed


@router.post("/promotions/{promotion}/reject")
@needs(Action.APPROVE, environment=LATER)
def reject(promotion: str, body: ReasonIn, access: AccessTo) -> Promotion:
    """Turn a promotion down."""
    _require(promotion, access)
    return reject_promotion(access.parts.store, promotion, access.why(body.reason))


@router.get("/releases")
@needs(Action.VIEW)
def list_releases(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    endpoint: Annotated[str | None, Query(max_length=200)] = None,
    version: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[Release]:
    """Releases, newest first."""
    asked = {"endpoint": endpoint, "version": version}
    where = {name: value for name, value in asked.items() if value is not None}
    with access.parts.store.reading() as tx:
        return records_page(tx.find(Release, order="-created_at", limit=limit + 1, after=after, **where), limit)


@router.get("/releases/{release}")
@needs(Action.VIEW)
def show_release(release: str, access: AccessTo) -> Release:
    """One release."""
    with access.parts.store.reading() as tx:
        return tx.get(Release, release)


def _require(promotion: str, access: AccessTo) -> None:
    with access.parts.store.reading() as tx:
        known = tx.get(Promotion, promotion)
    access.require(environment=known.environment, requested_by=known.behind or known.requested_by)
