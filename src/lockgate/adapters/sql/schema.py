"""Bringing a database to the schema this code expects, quickly where there is little to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from lockgate.adapters.sql import gateways, idempotency, jobtable, labels, leaders, ledger, outbox, profiles
from lockgate.adapters.sql.engine import MIGRATION, Database
from lockgate.adapters.sql.tables import metadata
from lockgate.base.errors import Unavailable

#: The newest migration; a test holds it to the files in migrations/versions.
HEAD = "0004"
MIGRATIONS = Path(__file__).parent / "migrations"
#: Modules whose tables make up the schema.
PARTS = (gateways, idempotency, jobtable, labels, leaders, ledger, outbox, profiles)


def migrate(database: Database) -> None:
    """Create the tables of a fresh database, or bring an older one up to date; do nothing to one that is.

    Several programs may call it at once; one does the work.

    Raises:
        Unavailable: the database cannot be written, or was made by a newer lockgate.
    """
    database.use_write_ahead_log()
    with database.reading() as connection:
        if _version(connection) == HEAD:
            return
    with database.writing(lock=MIGRATION) as connection:
        version = _version(connection)
        if version == HEAD:
            return
        if version is None:
            # Alembic takes longer to import than the tables to make, and a test proves both ways equal.
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
            return
        upgrade(connection)


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run the migrations in the open transaction, from wherever the database stands."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise Unavailable(
            f"the database's schema is not one of this lockgate's: {error}", hint="install the newer lockgate again"
        ) from error


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
