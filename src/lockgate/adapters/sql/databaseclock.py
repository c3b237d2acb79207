"""The time of the database, which machines that share it agree on."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text

from lockgate.adapters.sql.engine import Database
from lockgate.base.clock import Clock, SystemClock


class DatabaseClock:
    """PostgreSQL's own clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        """The present moment, there."""
        with self._database.reading() as connection:
            told: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return told.astimezone(UTC)


def lease_clock(database: Database) -> Clock:
    """What leases are measured by: SQLite is on one machine, and that machine's clock will do."""
    return SystemClock() if database.sqlite else DatabaseClock(database)
