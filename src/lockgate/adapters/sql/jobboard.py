"""Long work as people see it: what there is, stopping it, another chance, and forgetting."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobtable import jobs, one, view
from lockgate.adapters.sql.store import connection_of
from lockgate.base.clock import Clock
from lockgate.base.errors import Invalid, NotAllowedNow
from lockgate.edge_ports import OVER, JobState, JobView, QueueCount
from lockgate.ports import Transaction

_OVER = [state.value for state in OVER]
#: Jobs that one pass forgets, so that nobody waits long for the database.
_AT_ONCE = 10_000


class SqlJobBoard:
    """Knows how to show jobs, to stop one, and to give one another chance."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def get(self, id: str) -> JobView:
        """One job; raises NotFound."""
        with self._database.reading() as connection:
            return view(one(connection, id))

    def list(
        self,
        *,
        state: JobState | None = None,
        kind: str | None = None,
        queue: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[JobView]:
        """Newest first, behind the job of id ``after``; raises Invalid when there is no such job."""
        query = select(jobs).order_by(jobs.c.created.desc()).limit(limit)
        for column, wanted in ((jobs.c.state, state and state.value), (jobs.c.kind, kind), (jobs.c.queue, queue)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.reading() as connection:
            if after is not None:
                place = connection.execute(select(jobs.c.created).where(jobs.c.id == after)).scalar()
                if place is None:
                    raise Invalid(f"there is no job {after[:200]!r} to go on behind", hint="use the `next` of a page")
                query = query.where(jobs.c.created < place)
            return [view(row) for row in connection.execute(query)]

    def queues(self) -> list[QueueCount]:
        """How each queue does, by name."""
        ready = (jobs.c.state == JobState.QUEUED.value) & (jobs.c.due_at <= self._clock.now())
        queues: dict[str, dict[str, Any]] = {}
        counted = select(jobs.c.queue, jobs.c.state, func.count().label("found")).group_by(jobs.c.queue, jobs.c.state)
        oldest = select(jobs.c.queue, func.min(jobs.c.due_at).label("due_at")).where(ready).group_by(jobs.c.queue)
        with self._database.reading() as connection:
            for row in connection.execute(counted):
                queues.setdefault(row.queue, {})[row.state] = row.found
            due = {row.queue: row.due_at for row in connection.execute(oldest)}
        return [
            QueueCount(
                queue=name,
                waiting=states.get(JobState.QUEUED, 0),
                running=states.get(JobState.RUNNING, 0),
                parked=states.get(JobState.PARKED, 0),
                dead=states.get(JobState.FAILED, 0),
                oldest_due_at=due.get(name),
            )
            for name, states in sorted(queues.items())
        ]

    def cancel(self, tx: Transaction, id: str) -> JobView:
        """Stop it: its worker's writes are refused from now on. Raises NotAllowedNow when it is over."""
        stopped = {"state": JobState.CANCELLED.value, "fence": jobs.c.fence + 1}
        return self._move(tx, id, stopped, and_(jobs.c.state.not_in(_OVER)), "")

    def retry(self, tx: Transaction, id: str) -> JobView:
        """Let one that failed or was cancelled begin anew, with all its attempts.

        Raises:
            NotAllowedNow: it is waiting, running or done.
        """
        fresh = {
            "state": JobState.QUEUED.value,
            "fence": jobs.c.fence + 1,
            "attempts": 0,
            "worker": "",
            "progress": "",
            "due_at": self._clock.now(),
        }
        again = jobs.c.state.in_([JobState.FAILED.value, JobState.CANCELLED.value])
        return self._move(tx, id, fresh, again, "only one that failed or was cancelled can be tried again")

    def prune(self, tx: Transaction, ended_before: datetime, died_before: datetime) -> int:
        """Forget jobs that ended before the one time, and dead letters from before the other; gives how many."""
        own = connection_of(tx)
        ended = jobs.c.state.in_([JobState.DONE.value, JobState.CANCELLED.value])
        old = or_(
            ended & (jobs.c.updated_at < ended_before),
            (jobs.c.state == JobState.FAILED.value) & (jobs.c.updated_at < died_before),
        )
        chosen = select(jobs.c.created).where(old).limit(_AT_ONCE)
        forgotten = own.connection.execute(delete(jobs).where(jobs.c.created.in_(chosen))).rowcount
        if forgotten:
            own.changes("the list of jobs")
        return forgotten

    def _move(self, tx: Transaction, id: str, to: dict[str, Any], allowed: Any, hint: str) -> JobView:
        own = connection_of(tx)
        row = one(own.connection, id)
        moved = update(jobs).where(jobs.c.id == id, allowed).values(**to, updated_at=self._clock.now())
        own.changes(f"job {id}")
        if own.connection.execute(moved).rowcount == 0:
            raise NotAllowedNow(f"job {id} is {row.state} already", hint=hint)
        return view(one(own.connection, id))
