"""Long work under a lease: a row, a fencing number, attempts, and dead letters.

A worker that was thought dead and comes back holds an old fence, so nothing it writes is taken. The
effect of a job commits in the transaction that closes it, so it happens once however often the job runs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    and_,
    insert,
    select,
    update,
)

from lockgate.adapters.sql import outbox
from lockgate.adapters.sql.codec import encode
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.store import connection_of
from lockgate.adapters.sql.tables import GROWING, Moment, metadata
from lockgate.base.clock import Clock
from lockgate.base.errors import Conflict, Invalid, NotAllowedNow, NotFound
from lockgate.base.ids import Ids
from lockgate.edge_ports import JobState, JobView
from lockgate.ports import Job, Transaction

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
)
Index(None, jobs.c.state, jobs.c.due_at)
Index(None, jobs.c.kind)

#: Seconds before the second attempt; doubled for each one after, up to the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
#: Characters kept of what a job wrote.
LOG_TAIL = 16_384
#: The topic on which the death of a job is told, so that what waited for it can be closed.
DEAD = "job.dead"

_OVER = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class SqlJobs:
    """Knows how to hand out long work, each piece to one worker at a time, and how to show it."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, *, max_attempts: int = 3) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._max_attempts = max_attempts

    def enqueue(self, tx: Transaction, kind: str, payload: dict[str, Any], *, key: str = "") -> str:
        """Add work in the transaction that wants it; an equal ``key`` adds it once. Gives the job's id."""
        own = connection_of(tx)
        if key:
            known = own.connection.execute(select(jobs.c.id).where(jobs.c.key == key)).scalar()
            if known is not None:
                return known
        now = self._clock.now()
        id = self._ids.new("job", now)
        values = {
            "id": id,
            "kind": kind,
            "payload": encode(payload),
            "key": key or None,
            "state": JobState.QUEUED.value,
            "worker": "",
            "fence": 0,
            "attempts": 0,
            "max_attempts": self._max_attempts,
            "due_at": now,
            "progress": "",
            "log": "",
            "error": "",
            "requested_by": own.why.actor,
            "created_at": now,
            "updated_at": now,
        }
        own.connection.execute(insert(jobs).values(values))
        return id

    def lease(self, worker: str, seconds: float) -> Job | None:
        """Take the next job that is due, or None. One whose workers died in every attempt is laid among the dead."""
        # Looking costs no lock; most looks find nothing.
        with self._database.reading() as connection:
            if connection.execute(self._due()).first() is None:
                return None
        with self._database.writing() as connection:
            while (row := connection.execute(self._due()).first()) is not None:
                if row.attempts < row.max_attempts:
                    return self._take(connection, row, worker, seconds)
                self._bury(connection, _as_held(row), f"its worker died in each of {row.attempts} attempts")
        return None

    def extend(self, job: Job, seconds: float, *, progress: str = "") -> None:
        """Keep the lease; raises Conflict when another worker has it by now, or it was cancelled."""
        now = self._clock.now()
        changes: dict[str, Any] = {"due_at": now + timedelta(seconds=seconds), "updated_at": now}
        if progress:
            changes["progress"] = progress
        with self._database.writing(lock=None) as connection:
            self._change(connection, job, changes)

    def write(self, job: Job, text: str) -> None:
        """Append to what people see of its log; only the end is kept. Raises Conflict as `extend`."""
        with self._database.writing(lock=None) as connection:
            log = connection.execute(select(jobs.c.log).where(jobs.c.id == job.id)).scalar() or ""
            self._change(connection, job, {"log": (log + text)[-LOG_TAIL:], "updated_at": self._clock.now()})

    def finish(self, job: Job, tx: Transaction, result: dict[str, Any]) -> None:
        """Close the job in the transaction that holds its effect; raises Conflict as `extend`."""
        changes = {"state": JobState.DONE.value, "result": encode(result), "error": "", "updated_at": self._clock.now()}
        self._change(connection_of(tx).connection, job, changes)

    def fail(self, job: Job, error: str, *, retry: bool) -> None:
        """Give it back for another attempt after a while, or lay it among the dead letters.

        Its death is told as `DEAD` through the outbox. Raises Conflict as `extend`.
        """
        with self._database.writing() as connection:
            if not retry or job.attempt >= _one(connection, job.id).max_attempts:
                self._bury(connection, job, error)
                return
            now = self._clock.now()
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (job.attempt - 1))
            changes = {
                "state": JobState.QUEUED.value,
                "worker": "",
                "due_at": now + timedelta(seconds=wait),
                "error": error,
                "updated_at": now,
            }
            self._change(connection, job, changes)

    def get(self, id: str) -> JobView:
        """One job; raises NotFound."""
        with self._database.reading() as connection:
            return _view(_one(connection, id))

    def list(
        self, *, state: JobState | None = None, kind: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[JobView]:
        """Newest first, behind the job of id ``after``; raises Invalid when there is no such job."""
        query = select(jobs).order_by(jobs.c.created.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state.value)
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        with self._database.reading() as connection:
            if after is not None:
                place = connection.execute(select(jobs.c.created).where(jobs.c.id == after)).scalar()
                if place is None:
                    raise Invalid(f"there is no job {after[:200]!r} to go on behind", hint="use the `next` of a page")
                query = query.where(jobs.c.created < place)
            return [_view(row) for row in connection.execute(query)]

    def cancel(self, tx: Transaction, id: str) -> JobView:
        """Stop it: its worker's writes are refused from now on. Raises NotAllowedNow when it is over."""
        own = connection_of(tx)
        row = _one(own.connection, id)
        stop = update(jobs).where(jobs.c.id == id, jobs.c.state.not_in(_OVER))
        stop = stop.values(state=JobState.CANCELLED.value, fence=jobs.c.fence + 1, updated_at=self._clock.now())
        own.changes(f"job {id}")
        if own.connection.execute(stop).rowcount == 0:
            raise NotAllowedNow(f"job {id} is {row.state} already")
        return _view(_one(own.connection, id))

    def _due(self) -> Select[Any]:
        now = self._clock.now()
        waiting = (JobState.QUEUED.value, JobState.RUNNING.value)
        query = select(jobs).where(jobs.c.state.in_(waiting), jobs.c.due_at <= now)
        return query.order_by(jobs.c.due_at, jobs.c.created).limit(1)

    def _take(self, connection: Connection, row: Row[Any], worker: str, seconds: float) -> Job | None:
        now = self._clock.now()
        taken = {
            "state": JobState.RUNNING.value,
            "worker": worker,
            "fence": row.fence + 1,
            "attempts": row.attempts + 1,
            "due_at": now + timedelta(seconds=seconds),
            "updated_at": now,
        }
        # Its old worker may have extended the lease since: that takes no lock but the row's.
        same = and_(jobs.c.id == row.id, jobs.c.fence == row.fence, jobs.c.due_at == row.due_at)
        if connection.execute(update(jobs).where(same).values(taken)).rowcount == 0:
            return None
        return replace(_as_held(row), attempt=row.attempts + 1, fence=row.fence + 1)

    def _bury(self, connection: Connection, job: Job, error: str) -> None:
        now = self._clock.now()
        self._change(connection, job, {"state": JobState.FAILED.value, "error": error, "updated_at": now})
        told = {"id": job.id, "kind": job.kind, "payload": job.payload, "error": error}
        outbox.put(connection, DEAD, told, now)

    def _change(self, connection: Connection, job: Job, changes: dict[str, Any]) -> None:
        if connection.execute(update(jobs).where(_held(job)).values(changes)).rowcount == 0:
            raise _lost(job)


def _as_held(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        payload=json.loads(row.payload),
        attempt=row.attempts,
        fence=row.fence,
        requested_by=row.requested_by,
    )


def _held(job: Job) -> Any:
    return and_(jobs.c.id == job.id, jobs.c.fence == job.fence, jobs.c.state == JobState.RUNNING.value)


def _lost(job: Job) -> Conflict:
    return Conflict(
        f"job {job.id} is no longer this worker's", hint="drop the work: another attempt has it, or it is over"
    )


def _one(connection: Connection, id: str) -> Row[Any]:
    row = connection.execute(select(jobs).where(jobs.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no job {id[:200]!r}")
    return row


def _view(row: Row[Any]) -> JobView:
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
    )
