"""Long work under a lease: a row, a fencing number, attempts, and dead letters.

A worker that was thought dead and comes back holds an old fence, so nothing it writes is taken. The
effect of a job commits in the transaction that closes it, so it happens once however often the job runs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    false,
    func,
    insert,
    not_,
    or_,
    select,
    true,
    update,
)

from lockgate.adapters.sql import outbox
from lockgate.adapters.sql.codec import encode
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobboard import SqlJobBoard
from lockgate.adapters.sql.jobtable import jobs, one
from lockgate.adapters.sql.store import connection_of
from lockgate.base.clock import Clock
from lockgate.base.errors import Conflict
from lockgate.base.ids import Ids
from lockgate.domain.jobs.kinds import KINDS, JobKind, Offer
from lockgate.domain.jobs.rules import wait_before_next
from lockgate.edge_ports import JobState
from lockgate.ports import Job, Transaction

#: Characters kept of what a job wrote.
LOG_TAIL = 16_384
#: The topic on which the death of a job is told, so that what waited for it can be closed.
DEAD = "job.dead"

#: States in which a job is handed out when its time has come.
_WAITING = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.PARKED.value)
#: Jobs that one look parks or buries at most.
_AT_ONCE = 100
#: Whatever comes.
ANYTHING = Offer()


class SqlJobs(SqlJobBoard):
    """Knows how to hand out long work, each piece to one worker at a time, and how to show it.

    Args:
        kinds: how jobs are treated, by kind.
        max_attempts: of kinds that are not among them.
        chance: numbers from 0 to 1 that spread further attempts over time.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        *,
        kinds: Mapping[str, JobKind] = KINDS,
        max_attempts: int = 3,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(database, clock)
        self._ids = ids
        self._kinds = kinds
        self._max_attempts = max_attempts
        self._chance = chance

    def enqueue(self, tx: Transaction, kind: str, payload: dict[str, Any], *, key: str = "", slot: str = "") -> str:
        """Add work in the transaction that wants it; an equal ``key`` adds it once. Gives the job's id.

        Of jobs that share a ``slot`` only so many run at once as their kind allows.
        """
        own = connection_of(tx)
        if key:
            known = own.connection.execute(select(jobs.c.id).where(jobs.c.key == key)).scalar()
            if known is not None:
                return known
        now = self._clock.now()
        id = self._ids.new("job", now)
        treated = self._kinds.get(kind) or JobKind(name=kind, max_attempts=self._max_attempts)
        values = {
            "id": id,
            "kind": kind,
            "payload": encode(payload),
            "key": key or None,
            "state": JobState.QUEUED.value,
            "worker": "",
            "fence": 0,
            "attempts": 0,
            "max_attempts": treated.max_attempts,
            "due_at": now,
            "progress": "",
            "log": "",
            "error": "",
            "requested_by": own.why.actor,
            "created_at": now,
            "updated_at": now,
            "queue": treated.queue,
            "priority": treated.priority,
            "form": treated.form,
            "slot": slot,
            "at_once": treated.at_once,
        }
        own.connection.execute(insert(jobs).values(values))
        return id

    def lease(self, worker: str, seconds: float, offer: Offer = ANYTHING) -> Job | None:
        """Take the next job of the offer that is due, or None.

        One whose workers died in every attempt is laid among the dead. One that the worker does not know is parked,
        with the reason, for a worker that does.
        """
        # Looking costs no lock; most looks find nothing.
        with self._database.reading() as connection:
            looks = (self._due(offer), self._spent(offer), self._strange(offer))
            if not any(connection.execute(look).first() for look in looks):
                return None
        with self._database.writing() as connection:
            for row in connection.execute(self._strange(offer)).all():
                self._park(connection, row)
            for row in connection.execute(self._spent(offer)).all():
                died = f"its worker died in each of {row.attempts} attempts"
                self._bury(connection, as_held(row), died, _same(row))
            row = connection.execute(self._due(offer)).first()
            return self._take(connection, row, worker, seconds) if row is not None else None

    def extend(self, job: Job, seconds: float, *, progress: str = "") -> None:
        """Keep the lease; raises Conflict when another worker has it by now, or it was cancelled."""
        now = self._clock.now()
        changes: dict[str, Any] = {"due_at": now + timedelta(seconds=seconds), "updated_at": now}
        if progress:
            changes["progress"] = _storable(progress)
        with self._database.writing(lock=None) as connection:
            self._change(connection, job, changes)

    def write(self, job: Job, text: str) -> None:
        """Append to what people see of its log; only the end is kept.

        Its last lines may come after its end. Raises Conflict as `extend`.
        """
        with self._database.writing(lock=None) as connection:
            log = connection.execute(select(jobs.c.log).where(jobs.c.id == job.id)).scalar() or ""
            kept = {"log": (log + _storable(text))[-LOG_TAIL:], "updated_at": self._clock.now()}
            self._change(connection, job, kept, (JobState.RUNNING, JobState.DONE))

    def finish(self, job: Job, tx: Transaction, result: dict[str, Any]) -> None:
        """Close the job in the transaction that holds its effect; raises Conflict as `extend`."""
        changes = {"state": JobState.DONE.value, "result": encode(result), "error": "", "updated_at": self._clock.now()}
        self._change(connection_of(tx).connection, job, changes)

    def fail(self, job: Job, error: str, *, retry: bool) -> None:
        """Give it back for another attempt after a while, or lay it among the dead letters.

        Its death is told as `DEAD` through the outbox. Raises Conflict as `extend`.
        """
        with self._database.writing() as connection:
            if not retry or job.attempt >= one(connection, job.id).max_attempts:
                self._bury(connection, job, error, _held(job))
                return
            now = self._clock.now()
            wait = wait_before_next(job.attempt, self._chance())
            changes = {
                "state": JobState.QUEUED.value,
                "worker": "",
                "due_at": now + timedelta(seconds=wait),
                "error": _storable(error),
                "updated_at": now,
            }
            self._change(connection, job, changes)

    def _ripe(self, offer: Offer) -> ColumnElement[bool]:
        mine = jobs.c.queue.in_(offer.queues) if offer.queues else true()
        return and_(jobs.c.state.in_(_WAITING), jobs.c.due_at <= self._clock.now(), mine)

    def _due(self, offer: Offer) -> Select[Any]:
        beside = jobs.alias("beside")
        # One whose lease ran out runs no more, as far as anybody can tell.
        running = (
            select(func.count())
            .select_from(beside)
            .where(beside.c.slot == jobs.c.slot, beside.c.state == JobState.RUNNING.value)
            .where(beside.c.due_at > self._clock.now())
            .scalar_subquery()
        )
        room = or_(jobs.c.slot == "", running < jobs.c.at_once)
        query = select(jobs).where(self._ripe(offer), _known(offer), room, jobs.c.attempts < jobs.c.max_attempts)
        return query.order_by(jobs.c.priority.desc(), jobs.c.created).limit(1)

    def _spent(self, offer: Offer) -> Select[Any]:
        """Jobs that nobody came back from."""
        return select(jobs).where(self._ripe(offer), jobs.c.attempts >= jobs.c.max_attempts).limit(_AT_ONCE)

    def _strange(self, offer: Offer) -> Select[Any]:
        """Jobs that have come due, and that nobody was found to know."""
        unknown = and_(self._ripe(offer), not_(_known(offer)), jobs.c.state != JobState.PARKED.value)
        return select(jobs).where(unknown).limit(_AT_ONCE)

    def _park(self, connection: Connection, row: Row[Any]) -> None:
        reason = (
            f"no worker that looked knows jobs of kind {row.kind!r} in form {row.form}; "
            "it is taken as soon as one of a lockgate that does is there"
        )
        parked = {"state": JobState.PARKED.value, "error": reason, "fence": row.fence + 1, "worker": ""}
        connection.execute(update(jobs).where(_same(row)).values(**parked, updated_at=self._clock.now()))

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
        if connection.execute(update(jobs).where(_same(row)).values(taken)).rowcount == 0:
            return None
        return replace(as_held(row), attempt=row.attempts + 1, fence=row.fence + 1)

    def _bury(self, connection: Connection, job: Job, error: str, still: ColumnElement[bool]) -> None:
        now, error = self._clock.now(), _storable(error)
        dead = {"state": JobState.FAILED.value, "error": error, "updated_at": now}
        if connection.execute(update(jobs).where(still).values(dead)).rowcount == 0:
            raise _lost(job)
        told = {"id": job.id, "kind": job.kind, "payload": job.payload, "error": error}
        outbox.put(connection, DEAD, told, now)

    def _change(
        self,
        connection: Connection,
        job: Job,
        changes: dict[str, Any],
        states: Collection[JobState] = (JobState.RUNNING,),
    ) -> None:
        if connection.execute(update(jobs).where(_held(job, states)).values(changes)).rowcount == 0:
            raise _lost(job)


def _known(offer: Offer) -> ColumnElement[bool]:
    if offer.forms is None:
        return true()
    kinds = [
        and_(jobs.c.kind == kind, jobs.c.form.between(oldest, newest)) for kind, (oldest, newest) in offer.forms.items()
    ]
    return or_(false(), *kinds)


def _same(row: Row[Any]) -> ColumnElement[bool]:
    # Its worker may have extended the lease since it was read: that takes no lock but the row's.
    return and_(jobs.c.id == row.id, jobs.c.fence == row.fence, jobs.c.due_at == row.due_at)


def _storable(text: str) -> str:
    """Text as every engine keeps it: a model may print whatever it likes."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def as_held(row: Row[Any]) -> Job:
    """A row as its worker knows it."""
    return Job(
        id=row.id,
        kind=row.kind,
        payload=json.loads(row.payload),
        attempt=row.attempts,
        fence=row.fence,
        requested_by=row.requested_by,
    )


def _held(job: Job, states: Collection[JobState] = (JobState.RUNNING,)) -> ColumnElement[bool]:
    return and_(jobs.c.id == job.id, jobs.c.fence == job.fence, jobs.c.state.in_([state.value for state in states]))


def _lost(job: Job) -> Conflict:
    return Conflict(
        f"job {job.id} is no longer this worker's", hint="drop the work: another attempt has it, or it is over"
    )
