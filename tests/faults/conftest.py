"""The databases of the contract tests, for tests that break things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.store import SqlStore
from tests.contract.conftest import migrated, postgres, url

__all__ = ["migrated", "postgres", "url"]


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database)
