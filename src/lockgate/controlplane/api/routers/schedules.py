"""Jobs that come by the calendar."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.controlplane.api.routers.promotions import ReasonIn
from lockgate.domain.access.records import Action
from lockgate.domain.jobs.schedules import CatchUp, Schedule
from lockgate.workflows.handle_schedule import (
    ScheduleWish,
    add_schedule,
    find_schedule,
    pause_schedule,
    remove_schedule,
    resume_schedule,
    run_schedule,
)

router = declared_router("/schedules", tag="jobs")


class ScheduleIn(BaseModel):
    """What shall be asked for, and when."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=63)
    kind: str = Field(max_length=63)
    payload: dict[str, Any] = Field(default={}, max_length=20)
    #: Five fields, minute hour day month weekday, or @hourly, @daily, @weekly, @monthly.
    cron: str = Field(max_length=200)
    #: Whose clock it is by.
    zone: str = Field(default="UTC", max_length=64)
    #: What becomes of ticks that were missed.
    catch_up: CatchUp = CatchUp.ONCE
    reason: str = Field(min_length=1, max_length=1000)


class Started(BaseModel):
    """The job that was asked for."""

    job: str


@router.post("", status_code=201)
@needs(Action.OPERATE)
def add(body: ScheduleIn, access: AccessTo) -> Schedule:
    """Have jobs asked for by the calendar."""
    wish = ScheduleWish(**body.model_dump(exclude={"reason"}))
    return add_schedule(access.parts.store, wish, access.why(body.reason))


@router.get("")
@needs(Action.VIEW)
def list_schedules(access: AccessTo, limit: Limit = DEFAULT_LIMIT, after: After = None) -> Page[Schedule]:
    """Schedules, in the order of their next ticks."""
    with access.parts.store.reading() as tx:
        found = tx.find(Schedule, order="next_at", limit=limit + 1, after=after, removed=False)
        return records_page(found, limit)


@router.get("/{name}")
@needs(Action.VIEW)
def show(name: str, access: AccessTo) -> Schedule:
    """One schedule."""
    with access.parts.store.reading() as tx:
        return find_schedule(tx, name)


@router.post("/{name}/run", status_code=202)
@needs(Action.OPERATE)
def run(name: str, body: ReasonIn, access: AccessTo) -> Started:
    """Ask for its job now, beside its ticks."""
    return Started(job=run_schedule(access.parts.store, access.parts.jobs, name, access.why(body.reason)))


@router.post("/{name}/pause")
@needs(Action.OPERATE)
def pause(name: str, body: ReasonIn, access: AccessTo) -> Schedule:
    """Ask for no jobs until it goes on."""
    return pause_schedule(access.parts.store, name, access.why(body.reason))


@router.post("/{name}/resume")
@needs(Action.OPERATE)
def resume(name: str, body: ReasonIn, access: AccessTo) -> Schedule:
    """Let it go on with its next tick; those of the pause are passed over."""
    return resume_schedule(access.parts.store, name, access.why(body.reason))


@router.post("/{name}/remove")
@needs(Action.OPERATE)
def remove(name: str, body: ReasonIn, access: AccessTo) -> Schedule:
    """Ask for no further jobs; those that were asked for go on."""
    return remove_schedule(access.parts.store, name, access.why(body.reason))
