"""The table of jobs, and its rows as people see them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, Row, Table, Text, select

from lockgate.adapters.sql.tables import GROWING, Moment, metadata
from lockgate.base.errors import NotFound
from lockgate.edge_ports import JobState, JobView

jobs = Table(
    "jobs",
    metadata,
    Column("created", GROWING, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    # What makes two wishes one; null where every wish counts.
    Column("key", Text, unique=True),
    Column("state", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    # When somebody may take it: when its wait is over, or the lease on it.
    Column("due_at", Moment, nullable=False),
    Column("progress", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("result", Text),
    Column("error", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("queue", Text, nullable=False, server_default="models"),
    # Higher goes first.
    Column("priority", Integer, nullable=False, server_default="0"),
    # Of what it is asked with; code that only knows older ones leaves it alone.
    Column("form", Integer, nullable=False, server_default="1"),
    # Jobs that share a slot, and how many of them may run at once; empty shares with nobody.
    Column("slot", Text, nullable=False, server_default=""),
    Column("at_once", Integer, nullable=False, server_default="1"),
)
Index(None, jobs.c.state, jobs.c.due_at)
Index(None, jobs.c.kind)
Index(None, jobs.c.slot, jobs.c.state)


def one(connection: Connection, id: str) -> Row[Any]:
    """The row of a job; raises NotFound."""
    row = connection.execute(select(jobs).where(jobs.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no job {id[:200]!r}")
    return row


def view(row: Row[Any]) -> JobView:
    """A row as people see it."""
    return JobView(
        id=row.id,
        kind=row.kind,
        payload=json.loads(row.payload),
        state=JobState(row.state),
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        progress=row.progress,
        log=row.log,
        result=None if row.result is None else json.loads(row.result),
        error=row.error,
        requested_by=row.requested_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        queue=row.queue,
        priority=row.priority,
        form=row.form,
        slot=row.slot,
        worker=row.worker,
        due_at=row.due_at,
    )
