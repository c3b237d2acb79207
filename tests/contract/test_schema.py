"""A fresh database, an older one and an up-to-date one all end at the same schema."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from lockgate.adapters.sql.engine import MIGRATION, Database
from lockgate.adapters.sql.schema import HEAD, MIGRATIONS, migrate, upgrade
from lockgate.adapters.sql.tables import metadata
from lockgate.base.errors import Unavailable


def shape(connection: Connection) -> list[tuple[str, ...]]:
    """Everything a database says of its own schema, down to triggers."""
    if connection.dialect.name == "sqlite":
        query = "SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY type, name"
        rows = [(row[0], row[1], *_clauses(row[2])) for row in connection.execute(text(query))]
        return [row for row in rows if row[1] != "alembic_version"]
    queries = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY 1, 2",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1",
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
        "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'ledger%' ORDER BY 1",
    )
    rows = [tuple(map(str, row)) for query in queries for row in connection.execute(text(query))]
    return [row for row in rows if "alembic" not in row[0]]


def _clauses(sql: str) -> list[str]:
    # Constraints stand in the order they were declared in, which means nothing.
    bare = "".join(sql.split()).replace('"', "").removesuffix(")")
    return sorted(bare.replace(",CONSTRAINT", "|CONSTRAINT").split("|"))


def test_the_migrations_make_the_schema_that_the_code_expects(new_url: Callable[[], str]) -> None:
    database = Database(new_url())
    with database.writing(lock=MIGRATION) as connection:
        upgrade(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.close()


def test_a_fresh_database_has_exactly_what_the_migrations_make(new_url: Callable[[], str]) -> None:
    fresh, migrated = Database(new_url()), Database(new_url())
    migrate(fresh)
    with migrated.writing(lock=MIGRATION) as connection:
        upgrade(connection)
    with fresh.reading() as one, migrated.reading() as other:
        assert shape(one) == shape(other)
    fresh.close()
    migrated.close()


def test_the_newest_migration_is_the_one_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_programs_that_start_together_make_one_schema(new_url: Callable[[], str]) -> None:
    url = new_url()
    databases = [Database(url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(migrate, databases))
    with databases[0].reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    for database in databases:
        database.close()


def test_a_schema_of_a_newer_lockgate_is_refused_with_a_hint(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable, match="schema") as refused:
        migrate(database)
    assert "newer" in refused.value.hint


def test_a_fresh_sqlite_file_is_ready_in_half_a_second(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/lockgate.db")
    began = time.perf_counter()
    migrate(database)
    assert time.perf_counter() - began < 0.5
    database.close()


def test_an_up_to_date_database_is_opened_without_the_migration_library(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lockgate.db"
    code = (
        "import sys\n"
        "from lockgate.adapters.sql.engine import Database\n"
        "from lockgate.adapters.sql.schema import migrate\n"
        f"migrate(Database({url!r})); migrate(Database({url!r}))\n"
        "print('alembic' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
