"""The ledger proves itself, refuses to be edited, and shows any edit made behind its back."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Invalid, LedgerBroken, NotFound
from lockgate.domain.audit.ledger import GENESIS
from lockgate.ports import Ledger, Why
from tests.contract.records import a_model

ENTRIES = 12


@pytest.fixture
def ledger(database: Database, store: SqlStore, why: Why) -> Ledger:
    """A ledger of twelve entries in three transactions."""
    for first in range(0, ENTRIES, 4):
        with store.begin(why) as tx:
            for number in range(first, first + 4):
                model = tx.add(a_model(f"m{number}", why.at))
                tx.record("model.created", model, after=model)
    return SqlLedger(database)


@contextmanager
def behind_its_back(database: Database) -> Generator[Connection]:
    """Write as somebody would who owns the database and has taken the guards away."""
    with database.writing() as connection:
        if database.sqlite:
            connection.execute(text("DROP TRIGGER IF EXISTS ledger_keeps"))
            connection.execute(text("DROP TRIGGER IF EXISTS ledger_stays"))
        else:
            connection.execute(text("DROP TRIGGER IF EXISTS ledger_keeps ON ledger"))
        yield connection


def test_an_entry_says_who_what_and_why_and_follows_the_one_before(ledger: Ledger, why: Why) -> None:
    first, second = ledger.entries(limit=2)
    assert (first.seq, first.previous, second.previous) == (1, GENESIS, first.hash)
    assert (first.actor, first.action, first.subject, first.reason, first.at, first.links) == (
        "ada",
        "model.created",
        "model/m0",
        "because",
        why.at,
        {"request": "r1"},
    )
    assert first.before is None
    assert first.after is not None
    assert (first.after["id"], first.after["risk"], first.after["revision"]) == ("m0", "high", 1)
    assert ledger.entry(2) == second
    with pytest.raises(NotFound):
        ledger.entry(99)


def test_the_whole_chain_is_proved_over_any_number_of_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    head = ledger.entries(newest_first=True, limit=1)[0].hash
    assert ledger.verify() == (ENTRIES, head)
    monkeypatch.setattr("lockgate.adapters.sql.ledger._CHUNK", 5)
    assert ledger.verify() == (ENTRIES, head)


def test_an_empty_ledger_is_proved(database: Database) -> None:
    assert SqlLedger(database).verify() == (0, GENESIS)


def test_entries_are_paged_both_ways_and_found_by_subject_actor_and_action(ledger: Ledger) -> None:
    assert [entry.seq for entry in ledger.entries(after=10)] == [11, 12]
    assert [entry.seq for entry in ledger.entries(newest_first=True, limit=2)] == [12, 11]
    assert [entry.seq for entry in ledger.entries(newest_first=True, after=3)] == [2, 1]
    assert [entry.seq for entry in ledger.entries(subject="model/m3", actor="ada")] == [4]
    assert ledger.entries(action="model.deleted") == []


def test_only_records_and_objects_are_kept_as_before_and_after(store: SqlStore, why: Why) -> None:
    with pytest.raises(Invalid), store.begin(why) as tx:
        tx.record("x", "y", after="words")


@pytest.mark.parametrize("statement", ["UPDATE ledger SET reason = 'x'", "DELETE FROM ledger", "TRUNCATE ledger"])
def test_the_database_refuses_to_edit_the_ledger(ledger: Ledger, database: Database, statement: str) -> None:
    if database.sqlite and statement.startswith("TRUNCATE"):
        statement = "DELETE FROM ledger WHERE seq = 1"
    with pytest.raises(DBAPIError, match="append-only"), database.writing() as connection:
        connection.execute(text(statement))
    assert ledger.verify()[0] == ENTRIES


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET reason = 'another' WHERE seq = 5",
        "UPDATE ledger SET actor = 'eve' WHERE seq = 1",
        "UPDATE ledger SET after = NULL WHERE seq = 7",
        "UPDATE ledger SET links = '{}' WHERE seq = 12",
        "UPDATE ledger SET after = replace(after, '\"owner\"', ' \"owner\"') WHERE seq = 3",
        "UPDATE ledger SET at = replace(at, 'T', ' ') WHERE seq = 3",
        "UPDATE ledger SET at = 'yesterday' WHERE seq = 3",
        "UPDATE ledger SET after = '{' WHERE seq = 3",
        "DELETE FROM ledger WHERE seq = 1",
        "DELETE FROM ledger WHERE seq = 6",
        "UPDATE ledger SET seq = 99 WHERE seq = 4",
        "UPDATE ledger SET previous = hash WHERE seq = 8",
    ],
)
def test_every_edit_behind_its_back_is_found(ledger: Ledger, database: Database, statement: str) -> None:
    with behind_its_back(database) as connection:
        connection.execute(text(statement))
    with pytest.raises(LedgerBroken, match="entry"):
        ledger.verify()


def test_two_entries_that_changed_places_are_found(ledger: Ledger, database: Database) -> None:
    with behind_its_back(database) as connection:
        for old, new in ((4, 0), (5, 4), (0, 5)):
            connection.execute(text("UPDATE ledger SET seq = :new WHERE seq = :old"), {"old": old, "new": new})
    with pytest.raises(LedgerBroken, match="entry 4"):
        ledger.verify()


def test_a_flipped_bit_is_found_wherever_it_is(ledger: Ledger, database: Database) -> None:
    columns = ("at", "actor", "action", "subject", "reason", "after", "links", "previous", "hash")
    chance = random.Random(7)
    whole = ledger.entries()
    with behind_its_back(database):
        pass
    for _ in range(60):
        column, seq = chance.choice(columns), chance.randrange(1, ENTRIES + 1)
        with database.writing() as connection:
            old: str = connection.execute(text(f"SELECT {column} FROM ledger WHERE seq = {seq}")).scalar_one()
            _set(connection, column, seq, _flip(old, chance.randrange))
        with pytest.raises(LedgerBroken):
            ledger.verify()
        with database.writing() as connection:
            _set(connection, column, seq, old)
    assert ledger.entries() == whole
    assert ledger.verify()[0] == ENTRIES


def _flip(value: str, pick: Callable[[int], int]) -> str:
    data = bytearray(value.encode())
    # Below 64, so that what comes out is text that both engines keep.
    data[pick(len(data))] ^= 1 << pick(5)
    return data.decode("ascii").replace("\0", "\1")


def _set(connection: Connection, column: str, seq: int, value: str) -> None:
    connection.execute(text(f"UPDATE ledger SET {column} = :value WHERE seq = {seq}"), {"value": value})
