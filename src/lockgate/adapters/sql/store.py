"""Records in a database: each change with its revision, its ledger entry and its messages, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Select, literal, select, tuple_, update

from lockgate.adapters.sql import ledger, outbox
from lockgate.adapters.sql.codec import decode, encode
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import KINDS, Kind
from lockgate.adapters.sql.upsert import insert_new
from lockgate.base.errors import Conflict, Exists, Invalid, LockgateError, NotAllowedNow, NotFound
from lockgate.ports import Transaction, Why

R = TypeVar("R")

#: The topic on which every change is told, by the number of its ledger entry.
CHANGED = "changed"


class SqlStore:
    """Knows how to keep records in SQLite or PostgreSQL, for any number of threads and processes.

    Args:
        guard: asked first in each transaction that may write; what it raises stops it.
    """

    def __init__(self, database: Database, guard: Callable[[Connection], None] | None = None) -> None:
        self._database = database
        self._guard = guard

    @contextmanager
    def begin(self, why: Why) -> Generator[SqlTransaction]:
        """A transaction that commits at the end of the block, and leaves no trace when it raises.

        Raises:
            Unavailable: the database is full, locked, read-only or gone; nothing was changed.
        """
        with self._database.writing() as connection:
            if self._guard is not None:
                self._guard(connection)
            tx = SqlTransaction(connection, why)
            yield tx
            tx.check_recorded()

    @contextmanager
    def reading(self) -> Generator[SqlTransaction]:
        """A consistent view; changing anything in it raises."""
        with self._database.reading() as connection:
            yield SqlTransaction(connection, None)


class SqlTransaction:
    """Knows how to read and change records, all or nothing. Of one thread, within its block."""

    def __init__(self, connection: Connection, why: Why | None) -> None:
        self.connection = connection
        self._why = why
        self._unrecorded: str = ""
        self._recorded = False

    @property
    def why(self) -> Why:
        """Who changes something and for what reason; raises NotAllowedNow in one that only reads."""
        if self._why is None:
            raise NotAllowedNow("this transaction only reads")
        return self._why

    def get(self, kind: type[R], id: str) -> R:
        """The record of that id; raises NotFound."""
        table = _kept(kind).table
        body = self.connection.execute(select(table.c.body).where(table.c.id == id)).scalar()
        if body is None:
            raise NotFound(f"there is no {_word(kind)} {id[:200]!r}")
        return decode(kind, body)

    def find(
        self,
        kind: type[R],
        /,
        *,
        order: str = "id",
        limit: int = 1000,
        after: str | None = None,
        since: Any = None,
        until: Any = None,
        **where: Any,
    ) -> list[R]:
        """Records whose indexed fields equal ``where``; see `lockgate.ports.Transaction.find`."""
        kept = _kept(kind)
        name = order.removeprefix("-")
        by, down = _column(kept, name), order.startswith("-")
        if by.nullable:
            raise Invalid(f"{name!r} may be missing, so nothing can be ordered by it")
        query = select(kept.table.c.body).limit(limit)
        for field, value in where.items():
            query = _where(query, _column(kept, field), value)
        if since is not None:
            query = query.where(by >= _value(since))
        if until is not None:
            query = query.where(by <= _value(until))
        created = kept.table.c.created
        if after is not None:
            place = self.connection.execute(select(by, created).where(kept.table.c.id == after)).first()
            if place is None:
                raise Invalid(
                    f"there is no {_word(kind)} {after[:200]!r} to go on behind", hint="use the page's `next`"
                )
            here, there = tuple_(by, created), tuple_(literal(place[0], by.type), place.created)
            query = query.where(here < there if down else here > there)
        query = query.order_by(by.desc(), created.desc()) if down else query.order_by(by, created)
        return [decode(kind, body) for body in self.connection.execute(query).scalars()]

    def add(self, record: R) -> R:
        """Insert; raises Exists. Gives the record back with revision 1."""
        known = cast("Any", record)
        row, kept = self._next(record, 1)
        # Not an error to the database, so that the transaction can go on when the caller can.
        if not insert_new(self.connection, _kept(type(record)).table, row):
            raise Exists(f"there is a {_word(type(record))} {known.id!r} already")
        return kept

    def save(self, record: R) -> R:
        """Replace the row whose revision is the record's own; raises Conflict when somebody was faster,
        NotFound when there is none. Gives the record back with the next revision."""
        known = cast("Any", record)
        row, kept = self._next(record, known.revision + 1)
        table = _kept(type(record)).table
        mine = (table.c.id == known.id) & (table.c.revision == known.revision)
        if self.connection.execute(update(table).where(mine).values(row)).rowcount == 0:
            self.get(type(record), known.id)
            raise Conflict(
                f"{_word(type(record))} {known.id!r} was changed by somebody else in the meantime",
                hint="load it again and decide anew",
            )
        return kept

    def record(self, action: str, subject: Any, before: Any = None, after: Any = None) -> None:
        """Append a ledger entry, and tell of it as `CHANGED`; ``subject`` is a record, or text such as
        version/thyroid:3."""
        named = subject if isinstance(subject, str) else f"{_word(type(subject))}/{subject.id}"
        entry = ledger.append(self.connection, self.why, action, named, before, after)
        told = {"seq": entry.seq, "action": action, "subject": named, "actor": entry.actor}
        outbox.put(self.connection, CHANGED, told, entry.at)
        self._recorded = True

    def emit(self, topic: str, payload: dict[str, Any]) -> None:
        """Put a message into the outbox; it is delivered at least once after the commit."""
        outbox.put(self.connection, topic, payload, self.why.at)

    def changes(self, what: str) -> None:
        """Say that something was changed that the ledger must know of."""
        _ = self.why
        self._unrecorded = what

    def check_recorded(self) -> None:
        """Refuse to commit a change that no ledger entry tells of."""
        if self._unrecorded and not self._recorded:
            raise LockgateError(f"{self._unrecorded} was changed without a ledger entry; nothing was kept")

    def _next(self, record: R, revision: int) -> tuple[dict[str, Any], R]:
        """The row of a record's next revision, and the record as it will be read back: if it cannot be, this raises."""
        kind = _kept(type(record))
        known = replace(cast("Any", record), revision=revision)
        self.changes(f"{_word(kind.record)} {known.id}")
        body = encode(known)
        fields = {field: _value(getattr(known, field)) for field in kind.fields}
        row = {"id": known.id, "revision": revision, "body": body, **fields}
        return row, decode(type(record), body)


def connection_of(tx: Transaction) -> SqlTransaction:
    """The transaction as this folder knows it, for what shares one: jobs, labels."""
    if not isinstance(tx, SqlTransaction):
        raise TypeError("this is another store's transaction")
    return tx


def _kept(kind: type[Any]) -> Kind:
    if kind not in KINDS:
        raise TypeError(f"{kind.__name__} is not a record that is kept")
    return KINDS[kind]


def _word(kind: type[Any]) -> str:
    name = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)
    return name.strip().replace(" ", "-")


def _column(kept: Kind, field: str) -> Any:
    if field in kept.fields or field in ("id", "created"):
        return kept.table.c[field]
    raise Invalid(f"a {_word(kept.record)} cannot be found by {field!r}", hint=f"known: {', '.join(kept.fields)}")


def _where(query: Select[Any], column: Any, value: Any) -> Select[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        return query.where(column.in_([_value(item) for item in cast("list[Any]", value)]))
    return query.where(column == _value(value))


def _value(value: Any) -> Any:
    return getattr(value, "value", value)
