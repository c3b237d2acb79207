"""The ledger's table: append, read, prove. The database itself refuses to change or delete an entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import DDL, BigInteger, Column, Connection, Row, Select, Table, Text, event, insert, select

from lockgate.adapters.sql.codec import plain
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import metadata
from lockgate.base.clock import aware, parse_time
from lockgate.base.digest import canonical_json
from lockgate.base.errors import Invalid, LedgerBroken, LockgateError, NotFound
from lockgate.domain.audit.ledger import GENESIS, Entry, entry_hash, verify
from lockgate.ports import Why

ledger = Table(
    "ledger",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    # The very text that was hashed, so that no engine's rounding can break the chain.
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False, index=True),
    Column("action", Text, nullable=False, index=True),
    Column("subject", Text, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("links", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
)

#: What makes the table append-only, statement by statement, for each engine.
GUARDS = {
    "sqlite": (
        "CREATE TRIGGER ledger_keeps BEFORE UPDATE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER ledger_stays BEFORE DELETE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER ledger_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()",
    ),
}
for _dialect, _statements in GUARDS.items():
    for _statement in _statements:
        event.listen(ledger, "after_create", DDL(_statement).execute_if(dialect=_dialect))

_CHUNK = 2_000


def append(connection: Connection, why: Why, action: str, subject: str, before: Any, after: Any) -> Entry:
    """Add the next entry. The caller holds the writer's lock, so no other can take the same number."""
    head = connection.execute(select(ledger.c.seq, ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)).first()
    facts: dict[str, Any] = {
        "seq": head.seq + 1 if head else 1,
        "at": aware(why.at),
        "actor": why.actor,
        "action": action,
        "subject": subject,
        "reason": why.reason,
        "before": None if before is None else _object(before),
        "after": None if after is None else _object(after),
        "links": dict(why.links),
        "previous": head.hash if head else GENESIS,
    }
    entry = Entry(**facts, hash=entry_hash(**facts))
    connection.execute(insert(ledger).values(_row(entry)))
    return entry


def _object(value: Any) -> dict[str, Any]:
    found = plain(value)
    if not isinstance(found, dict):
        raise Invalid(f"a ledger entry keeps records, not a {type(value).__name__}")
    return found


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "reason": entry.reason,
        "before": None if entry.before is None else canonical_json(entry.before).decode(),
        "after": None if entry.after is None else canonical_json(entry.after).decode(),
        "links": canonical_json(entry.links).decode(),
        "previous": entry.previous,
        "hash": entry.hash,
    }


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        seq=row.seq,
        at=parse_time(row.at),
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        reason=row.reason,
        before=None if row.before is None else json.loads(row.before),
        after=None if row.after is None else json.loads(row.after),
        links=json.loads(row.links),
        previous=row.previous,
        hash=row.hash,
    )


class SqlLedger:
    """Knows how to read the ledger and to prove it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(
        self,
        *,
        after: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
        subject: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> list[Entry]:
        """A page of entries behind the number ``after``, of one subject, actor or action if given."""
        query = select(ledger).order_by(ledger.c.seq.desc() if newest_first else ledger.c.seq).limit(limit)
        if after is not None:
            query = query.where(ledger.c.seq < after if newest_first else ledger.c.seq > after)
        for column, value in ((ledger.c.subject, subject), (ledger.c.actor, actor), (ledger.c.action, action)):
            if value is not None:
                query = query.where(column == value)
        return self._read(query)

    def entry(self, seq: int) -> Entry:
        """One entry; raises NotFound."""
        found = self._read(select(ledger).where(ledger.c.seq == seq))
        if not found:
            raise NotFound(f"the ledger has no entry {seq}")
        return found[0]

    def verify(self) -> tuple[int, str]:
        """Prove the whole chain as of now, a chunk at a time.

        Returns:
            How many entries there are, and the hash of the last: a witness of both can tell later
            that none was cut off the end.

        Raises:
            LedgerBroken: naming the first entry that does not fit.
        """
        with self._database.reading() as connection:
            return verify(_walk(connection))

    def _read(self, query: Select[Any]) -> list[Entry]:
        with self._database.reading() as connection:
            return [_entry(row) for row in connection.execute(query)]


def _walk(connection: Connection) -> Iterator[Entry]:
    last = -1
    while True:
        rows = connection.execute(select(ledger).where(ledger.c.seq > last).order_by(ledger.c.seq).limit(_CHUNK)).all()
        for row in rows:
            yield _exactly(row)
        if len(rows) < _CHUNK:
            return
        last = rows[-1].seq


def _exactly(row: Row[Any]) -> Entry:
    """The entry, if the row is byte for byte what `append` writes: equal values in other words are a change too."""
    try:
        entry = _entry(row)
        same = all(getattr(row, name) == value for name, value in _row(entry).items())
    except (ValueError, TypeError, LockgateError) as error:
        raise LedgerBroken(f"entry {row.seq} cannot be read") from error
    if not same:
        raise LedgerBroken(f"entry {row.seq} was changed after it was written")
    return entry
