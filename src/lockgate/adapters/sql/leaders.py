"""Who of several control planes does what: one leader for each concern, by a lease and a fencing token.

A leader that was frozen and comes back still believes that it leads. So each of its writes asks, in its own
transaction, whether its token is the newest; if not, nothing is written (Kleppmann, "How to do distributed locking",
2016).

SQLite has one machine and one control plane. There the one that started last leads, without an end: its start is one
write, and its days cost nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Table, Text, and_, not_, or_, select, update

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import Moment, metadata
from lockgate.adapters.sql.upsert import insert_new
from lockgate.base.clock import Clock
from lockgate.base.errors import Conflict
from lockgate.edge_ports import Leader

leaders = Table(
    "leaders",
    metadata,
    Column("concern", Text, primary_key=True),
    # Host and port of the control plane.
    Column("holder", Text, nullable=False),
    # Grows with every change of leader.
    Column("token", BigInteger, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment, nullable=False),
)

#: Seconds a leader is not heard of before another takes its place.
LEASE = 5.0


class SqlLeaders:
    """Knows what this control plane leads, and takes what nobody does. For any number of threads.

    Args:
        holder: what it is called, the same after a restart: it need not wait for its own lease to run out.
        concerns: what there is to lead.
        clock: the database's own, where several machines share one.
        ticking: seconds that only go forward, by which a leader knows that it may have lost its lease.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        holder: str,
        concerns: Sequence[str],
        *,
        lease: float = LEASE,
        ticking: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._holder = holder
        self._concerns = sorted(concerns)
        self._lease = lease
        self._ticking = ticking
        self._tokens: dict[str, int] = {}
        #: By the ticking clock, until when it may believe that it leads.
        self._sure_until: dict[str, float] = {}
        #: What it had and lost for good: on SQLite the last one to start stays.
        self._lost: set[str] = set()

    def beat(self) -> None:
        """Keep what is led, and take what is free. Raises Unavailable; what is led stays so until its lease ends."""
        began = self._ticking()
        if self._database.sqlite:
            wanted = [each for each in self._concerns if each not in self._tokens and each not in self._lost]
        else:
            self._keep(began)
            now = self._clock.now()
            with self._database.reading() as connection:
                held = set(connection.execute(select(leaders.c.concern).where(not_(self._free(now)))).scalars())
            wanted = [concern for concern in self._concerns if concern not in self._tokens and concern not in held]
        for concern in wanted:
            with self._database.writing(lock=None) as connection:
                token = self._take(connection, concern)
            if token is not None:
                self._tokens[concern], self._sure_until[concern] = token, began + self._lease

    def leads(self, concern: str) -> bool:
        """Whether this control plane leads it, as far as it can know without asking."""
        if self._database.sqlite:
            return concern in self._tokens
        return concern in self._tokens and self._ticking() < self._sure_until.get(concern, 0.0)

    def guard(self, concern: str) -> Callable[[Connection], None]:
        """Makes a transaction's first question: does the token of this control plane still count?

        What it gives raises Conflict when another leads by now; the row stays as it is until the transaction ends.
        """

        def check(connection: Connection) -> None:
            query = select(leaders.c.token).where(leaders.c.concern == concern)
            if not self._database.sqlite:
                query = query.with_for_update(read=True)
            mine = self._tokens.get(concern)
            if mine is None or connection.execute(query).scalar() != mine:
                self._lose(concern)
                raise Conflict(f"another control plane leads {concern} by now", hint="nothing was changed")

        return check

    def release(self) -> None:
        """Let go of all that is led, so that another need not wait for the lease to run out."""
        held, self._tokens = self._tokens, {}
        if self._database.sqlite or not held:
            return
        now = self._clock.now()
        with self._database.writing(lock=None) as connection:
            for concern, token in sorted(held.items()):
                connection.execute(update(leaders).where(_is(concern, token)).values(until=now))

    def shown(self) -> list[Leader]:
        """Who leads what, by concern."""
        now = self._clock.now()
        with self._database.reading() as connection:
            rows = connection.execute(select(leaders).order_by(leaders.c.concern)).all()
        return [
            Leader(
                concern=row.concern,
                holder=row.holder,
                token=row.token,
                since=row.since,
                leads=self._database.sqlite or row.until > now,
            )
            for row in rows
        ]

    def _free(self, now: datetime) -> ColumnElement[bool]:
        # No lease ends so late: the clock that it was given by has been put back since.
        strange = now + timedelta(seconds=4 * self._lease)
        return or_(leaders.c.until <= now, leaders.c.until > strange, leaders.c.holder == self._holder)

    def _take(self, connection: Connection, concern: str) -> int | None:
        now = self._clock.now()
        mine = {"holder": self._holder, "since": now, "until": now + timedelta(seconds=self._lease)}
        if insert_new(connection, leaders, {"concern": concern, "token": 1, **mine}):
            return 1
        query = select(leaders.c.token).where(leaders.c.concern == concern)
        if not self._database.sqlite:
            # A frozen leader may hold the row in a transaction of its own; what else is led here shall not wait for it.
            query = query.where(self._free(now)).with_for_update(skip_locked=True)
        token = connection.execute(query).scalar()
        if token is None:
            return None
        connection.execute(update(leaders).where(leaders.c.concern == concern).values(token=token + 1, **mine))
        return token + 1

    def _keep(self, began: float) -> None:
        mine = dict(self._tokens)
        if not mine:
            return
        until = self._clock.now() + timedelta(seconds=self._lease)
        still = or_(*(_is(concern, token) for concern, token in mine.items()))
        with self._database.writing(lock=None) as connection:
            kept = set(
                connection.execute(
                    update(leaders).where(still).values(until=until).returning(leaders.c.concern)
                ).scalars()
            )
        for concern in mine:
            if concern in kept:
                self._sure_until[concern] = began + self._lease
            else:
                self._lose(concern)

    def _lose(self, concern: str) -> None:
        if self._tokens.pop(concern, None) is not None and self._database.sqlite:
            self._lost.add(concern)


def _is(concern: str, token: int) -> ColumnElement[bool]:
    return and_(leaders.c.concern == concern, leaders.c.token == token)
