"""Answers of POSTs by their key, so that asking again changes nothing again."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, Integer, LargeBinary, Table, Text, delete, select, update

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import Moment, metadata
from lockgate.adapters.sql.upsert import insert_new
from lockgate.base.errors import Conflict, Invalid
from lockgate.edge_ports import Answer

answers = Table(
    "idempotency",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Digest of the request the key was first used for.
    Column("request", Text, nullable=False),
    # Null while it is being answered.
    Column("status", Integer),
    Column("body", LargeBinary),
    Column("reserved_at", Moment, nullable=False, index=True),
)


class SqlIdempotency:
    """Knows which requests were made before, so that asking again does not do it again.

    Args:
        keep: how long an answer is given again.
        patience: after so long an unanswered request is taken for dead, and its key is free again.
    """

    def __init__(
        self, database: Database, *, keep: timedelta = timedelta(days=1), patience: timedelta = timedelta(minutes=1)
    ) -> None:
        self._database = database
        self._keep = keep
        self._patience = patience

    def reserve(self, caller: str, key: str, request: str, at: datetime) -> Answer | None:
        """Take the key for a request of this digest; None when it is new and the caller goes ahead.

        Gives the kept answer when the same request was answered.

        Raises:
            Conflict: the first request with this key is still being answered.
            Invalid: the key was used for another request.
        """
        mine = _mine(caller, key)
        with self._database.writing() as connection:
            connection.execute(delete(answers).where(answers.c.reserved_at < at - self._keep))
            dead = answers.c.status.is_(None) & (answers.c.reserved_at < at - self._patience)
            connection.execute(delete(answers).where(mine & dead))
            values = {"caller": caller, "key": key, "request": request, "reserved_at": at}
            if insert_new(connection, answers, values):
                return None
            known = connection.execute(select(answers).where(mine)).one()
        if known.request != request:
            raise Invalid("this idempotency key was used for another request", hint="take a fresh key")
        if known.status is None:
            raise Conflict("the first request with this idempotency key is still being answered", hint="ask again soon")
        return Answer(status=known.status, body=known.body)

    def complete(self, caller: str, key: str, answer: Answer) -> None:
        """Keep the answer."""
        with self._database.writing(lock=None) as connection:
            kept = {"status": answer.status, "body": answer.body}
            connection.execute(update(answers).where(_mine(caller, key)).values(kept))

    def release(self, caller: str, key: str) -> None:
        """Give the key back: nothing was done."""
        with self._database.writing(lock=None) as connection:
            connection.execute(delete(answers).where(_mine(caller, key), answers.c.status.is_(None)))


def _mine(caller: str, key: str) -> ColumnElement[bool]:
    return (answers.c.caller == caller) & (answers.c.key == key)
