"""The ledger: read it, prove it, and ask it who answered when."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, BaseModel

from lockgate.base.clock import aware
from lockgate.base.errors import LedgerBroken
from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, Limit, Page
from lockgate.domain.access.records import Action
from lockgate.domain.audit.ledger import Entry
from lockgate.workflows.find_served import Served, find_served

router = declared_router("/audit", tag="audit")


class Proof(BaseModel):
    """What came of proving the chain."""

    proved: bool
    #: How many entries are proved, and the hash of the last one: keep both elsewhere as a witness.
    entries: int
    head: str
    #: Which entry does not fit, when the chain is broken.
    sentence: str


@router.get("/entries")
@needs(Action.AUDIT)
def list_entries(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: Annotated[int | None, Query(ge=0, description="the `next` of the page before")] = None,
    subject: Annotated[str | None, Query(max_length=300)] = None,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[Entry]:
    """Ledger entries, newest first."""
    found = access.parts.ledger.entries(
        after=after, limit=limit + 1, newest_first=True, subject=subject, actor=actor, action=action
    )
    here = found[:limit]
    return Page(items=here, next=str(here[-1].seq) if len(found) > limit else None)


@router.get("/verify")
@needs(Action.AUDIT)
def verify(access: AccessTo) -> Proof:
    """Prove the whole chain, entry by entry."""
    try:
        entries, head = access.parts.ledger.verify()
    except LedgerBroken as error:
        return Proof(proved=False, entries=0, head="", sentence=error.message)
    return Proof(proved=True, entries=entries, head=head, sentence=f"all {entries} entries follow one from another")


@router.get("/served")
@needs(Action.AUDIT)
def served(
    endpoint: Annotated[str, Query(max_length=200)], at: Annotated[AwareDatetime, Query()], access: AccessTo
) -> Served:
    """Which version answered on an endpoint at a moment."""
    return find_served(access.parts.store, endpoint, aware(at))
