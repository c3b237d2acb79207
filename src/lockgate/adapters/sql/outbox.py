"""Messages that leave with the transaction that meant them."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, Table, Text, delete, exists, insert, select, update

from lockgate.adapters.sql.codec import encode
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import GROWING, Moment, metadata
from lockgate.base.clock import Clock

outbox = Table(
    "outbox",
    metadata,
    Column("seq", GROWING, primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("emitted_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False),
    #: Not to be tried before; in the past for a fresh message.
    Column("due_at", Moment, nullable=False),
    Column("error", Text, nullable=False),
    # Numbers of delivered messages are never given again.
    sqlite_autoincrement=True,
)
Index(None, outbox.c.topic, outbox.c.due_at)

#: Seconds until the second try; doubled for each one after, up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message that left with a transaction and is on its way."""

    #: Grows in the order of commits; the receiver's key against doubles.
    id: int
    topic: str
    payload: dict[str, Any]
    emitted_at: datetime
    #: Tries so far that failed, and what the last one said.
    attempts: int
    error: str


def put(connection: Connection, topic: str, payload: dict[str, Any], at: datetime) -> None:
    """Add a message to the open transaction. The caller holds the writer's lock, which makes the order."""
    values = {"topic": topic, "payload": encode(payload), "emitted_at": at, "attempts": 0, "due_at": at, "error": ""}
    connection.execute(insert(outbox).values(values))


class SqlOutbox:
    """Knows what is still to be delivered. For one deliverer at a time.

    Args:
        guard: asked first in each transaction; what it raises stops it.
    """

    def __init__(self, database: Database, clock: Clock, guard: Callable[[Connection], None] | None = None) -> None:
        self._database = database
        self._clock = clock
        self._guard = guard

    def pending(self, limit: int = 100) -> list[Message]:
        """Messages that are due, in the order of their commits; a topic waits behind its failed one."""
        earlier = outbox.alias("earlier")
        now = self._clock.now()
        held = exists().where(
            earlier.c.topic == outbox.c.topic,
            earlier.c.seq <= outbox.c.seq,
            earlier.c.attempts > 0,
            earlier.c.due_at > now,
        )
        query = select(outbox).where(~held).order_by(outbox.c.seq).limit(limit)
        with self._database.reading() as connection:
            return [
                Message(
                    id=row.seq,
                    topic=row.topic,
                    payload=json.loads(row.payload),
                    emitted_at=row.emitted_at,
                    attempts=row.attempts,
                    error=row.error,
                )
                for row in connection.execute(query)
            ]

    def delivered(self, ids: Sequence[int]) -> None:
        """Forget messages that arrived."""
        if ids:
            with self._writing() as connection:
                connection.execute(delete(outbox).where(outbox.c.seq.in_(list(ids))))

    def failed(self, id: int, error: str) -> None:
        """Try this one again later, each time twice as late."""
        with self._writing() as connection:
            attempts = connection.execute(select(outbox.c.attempts).where(outbox.c.seq == id)).scalar()
            if attempts is None:
                return
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempts, 16))
            due_at = self._clock.now() + timedelta(seconds=wait)
            connection.execute(
                update(outbox)
                .where(outbox.c.seq == id)
                .values(attempts=attempts + 1, due_at=due_at, error=error[:2_000])
            )

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        with self._database.writing(lock=None) as connection:
            if self._guard is not None:
                self._guard(connection)
            yield connection
