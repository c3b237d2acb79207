"""Long work: what there is, stopping it, and another chance for what died."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lockgate.base.errors import Invalid
from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.domain.access.records import Action
from lockgate.domain.jobs.kinds import KINDS
from lockgate.edge_ports import JobState, JobView, Leader, QueueCount
from lockgate.workflows.cancel_job import cancel_job
from lockgate.workflows.retry_job import retry_all, retry_job

router = declared_router("", tag="jobs")


class WhyIn(BaseModel):
    """Why, if there is more to say than what is done."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=1000)


class RetryAllIn(BaseModel):
    """Which dead letters are tried again."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=63)
    reason: str = Field(min_length=1, max_length=1000)


class Retried(BaseModel):
    """What became of them."""

    #: Jobs that begin anew.
    again: list[str]
    #: Job -> why it does not.
    refused: dict[str, str]


class Kind(BaseModel):
    """One kind of long work."""

    kind: str
    queue: str
    priority: int
    max_attempts: int
    does: str
    #: What a schedule may ask it with, and in which form; null where it cannot be scheduled.
    takes: dict[str, str] | None


@router.get("/jobs")
@needs(Action.VIEW)
def list_jobs(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    state: Annotated[JobState | None, Query(description="only those in this state")] = None,
    kind: Annotated[str | None, Query(max_length=63, description="only those of this kind")] = None,
    queue: Annotated[str | None, Query(max_length=63, description="only those of this queue")] = None,
) -> Page[JobView]:
    """Long work, newest first."""
    if kind is not None:
        _check_kind(kind)
    if queue is not None and queue not in (queues := sorted({known.queue for known in KINDS.values()})):
        raise Invalid(f"there is no queue {queue!r}", hint=f"there are {', '.join(queues)}")
    found = access.parts.board.list(state=state, kind=kind, queue=queue, limit=limit + 1, after=after)
    return records_page(found, limit)


@router.get("/jobs/queues")
@needs(Action.VIEW)
def list_queues(access: AccessTo) -> list[QueueCount]:
    """How each queue does."""
    return list(access.parts.board.queues())


@router.get("/jobs/kinds")
@needs(Action.VIEW)
def list_kinds(access: AccessTo) -> list[Kind]:
    """The kinds of long work, and which of them can be scheduled."""
    return [
        Kind(
            kind=kind.name,
            queue=kind.queue,
            priority=kind.priority,
            max_attempts=kind.max_attempts,
            does=kind.sentence,
            takes=None if kind.takes is None else {name: form.value for name, form in kind.takes.items()},
        )
        for kind in KINDS.values()
    ]


@router.post("/jobs/retry")
@needs(Action.OPERATE)
def try_all_again(body: RetryAllIn, access: AccessTo) -> Retried:
    """Give every dead letter of a kind another chance."""
    _check_kind(body.kind)
    again, refused = retry_all(access.parts.store, access.parts.board, body.kind, access.why(body.reason))
    return Retried(again=again, refused=refused)


@router.get("/jobs/{job}")
@needs(Action.VIEW)
def show_job(job: str, access: AccessTo) -> JobView:
    """One piece of long work: where it is, what it wrote, what came of it."""
    return access.parts.board.get(job)


@router.post("/jobs/{job}/cancel")
@needs(Action.OPERATE)
def stop_job(job: str, access: AccessTo, body: WhyIn | None = None) -> JobView:
    """Stop a piece of long work; nothing that it does from now on is kept."""
    return cancel_job(access.parts.store, access.parts.board, job, access.why((body and body.reason) or "cancelled"))


@router.post("/jobs/{job}/retry")
@needs(Action.OPERATE)
def try_again(job: str, access: AccessTo, body: WhyIn | None = None) -> JobView:
    """Give one that failed or was cancelled another chance, with all its attempts."""
    return retry_job(access.parts.store, access.parts.board, job, access.why((body and body.reason) or "tried again"))


@router.get("/leaders")
@needs(Action.VIEW)
def list_leaders(access: AccessTo) -> list[Leader]:
    """Which control plane does what only one may do."""
    return list(access.parts.leadership.shown())


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise Invalid(f"there is no job of kind {kind!r}", hint=f"there are {', '.join(sorted(KINDS))}")
