"""Whatever is wrong with the database is called by a name that says what to do."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Invalid, Unavailable
from lockgate.domain.registry.records import Model
from lockgate.ports import Why
from tests.contract.records import a_model


def make_read_only(database: Database) -> None:
    if database.sqlite:
        event.listen(database.engine, "connect", _only_queries)
    else:
        with database.writing() as connection:
            connection.execute(text(f'ALTER DATABASE "{database.url.database}" SET default_transaction_read_only = on'))
    database.engine.dispose()


def _only_queries(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")


def test_a_read_only_database_is_unavailable_to_writers_only(database: Database, store: SqlStore, why: Why) -> None:
    with store.begin(why) as tx:
        tx.record("model.created", tx.add(a_model("thyroid", why.at)))
    make_read_only(database)
    with pytest.raises(Unavailable, match="read-only") as told, store.begin(why) as tx:
        tx.record("model.created", tx.add(a_model("heart", why.at)))
    assert told.value.hint
    with store.reading() as tx:
        assert [model.id for model in tx.find(Model)] == ["thyroid"]


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql://postgres@/x?host=/nowhere/at/all"])
def test_a_database_that_is_not_there_is_unavailable(url: str) -> None:
    database = Database(url)
    with pytest.raises(Unavailable) as told:
        migrate(database)
    assert told.value.hint
    database.close()


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"these are words, and no database at all\n" * 100)
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(Unavailable, match="not a database"):
        migrate(database)
    database.close()


def test_a_zero_character_is_kept_whole_or_refused(database: Database, store: SqlStore, why: Why) -> None:
    # PostgreSQL has no room for one in a text, SQLite does.
    refusal = nullcontext() if database.sqlite else pytest.raises(Invalid, match="cannot be kept")
    with refusal, store.begin(why) as tx:
        tx.record("model.created", tx.add(a_model("a\0b", why.at)))
    with store.reading() as tx:
        assert [model.id for model in tx.find(Model)] == (["a\0b"] if database.sqlite else [])
