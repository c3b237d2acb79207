"""One suite, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.ports import Why
from lockgate.testing import FakeClock
from tests.contract.postgres import Server, running_server

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Server) -> str:
    """A PostgreSQL database to copy from, which is quicker than making the tables each time."""
    name = postgres.make()
    database = Database(postgres.url(name))
    migrate(database)
    database.close()
    return name


@pytest.fixture(params=ENGINES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Says where another database may be that has no tables yet."""
    if request.param == "sqlite":
        numbers = count()
        yield lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db"
        return
    server: Server = request.getfixturevalue("postgres")
    made: list[str] = []

    def make() -> str:
        made.append(server.make())
        return server.url(made[-1])

    yield make
    for name in made:
        server.drop(name)


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an up-to-date, empty database is."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        name = server.make(request.getfixturevalue("migrated"))
        yield server.url(name)
        server.drop(name)
        return
    url = f"sqlite:///{tmp_path}/lockgate.db"
    database = Database(url)
    migrate(database)
    database.close()
    yield url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url, patience=2.0)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> SqlStore:
    return SqlStore(database)


@pytest.fixture
def why(clock: FakeClock) -> Why:
    return Why(actor="ada", reason="because", at=clock.now(), links=(("request", "r1"),))


@pytest.fixture
def postgres_database(postgres: Server, migrated: str) -> Iterator[Database]:
    """PostgreSQL alone, for what several machines share."""
    name = postgres.make(migrated)
    database = Database(postgres.url(name), patience=2.0)
    yield database
    database.close()
    postgres.drop(name)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """SQLite alone, for what is otherwise there."""
    database = Database(f"sqlite:///{tmp_path}/alone.db", patience=2.0)
    migrate(database)
    yield database
    database.close()
