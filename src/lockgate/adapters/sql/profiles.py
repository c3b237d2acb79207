"""Counts by minute, added up as they come in."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, Table, Text, select

from lockgate.adapters.sql.engine import PROFILES, Database
from lockgate.adapters.sql.tables import metadata
from lockgate.adapters.sql.upsert import upsert
from lockgate.domain.monitoring.cells import add_packed
from lockgate.ports import ProfileRow

profiles = Table(
    "profiles",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
sources = Table(
    "profile_sources",
    metadata,
    Column("source", Text, primary_key=True),
    # The last number that was added; gateways send in order and again until they hear of it.
    Column("seq", BigInteger, nullable=False),
)


class SqlProfiles:
    """Knows how to add up counts and give them back by time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, source: str, seq: int, rows: Sequence[ProfileRow]) -> bool:
        """Add deltas; False when this source's ``seq`` was added before, and nothing changes then.

        Raises:
            Invalid: a row's bytes are no profile, or one of another baseline than its version's; nothing
                of the delta is added.
        """
        with self._database.writing(lock=PROFILES) as connection:
            last = connection.execute(select(sources.c.seq).where(sources.c.source == source)).scalar()
            if last is not None and seq <= last:
                return False
            upsert(connection, sources, {"source": source, "seq": seq})
            for row in rows:
                _merge(connection, row)
        return True

    def window(self, endpoint: str, start: int, end: int, version: str | None = None) -> list[ProfileRow]:
        """Summed rows of the minutes start <= minute < end, by minute."""
        query = select(profiles).where(
            profiles.c.endpoint == endpoint, profiles.c.minute >= start, profiles.c.minute < end
        )
        if version is not None:
            query = query.where(profiles.c.version == version)
        query = query.order_by(profiles.c.minute, profiles.c.version, profiles.c.role)
        with self._database.reading() as connection:
            return [
                ProfileRow(minute=row.minute, endpoint=row.endpoint, version=row.version, role=row.role, data=row.data)
                for row in connection.execute(query)
            ]


def _merge(connection: Connection, row: ProfileRow) -> None:
    key = {"endpoint": row.endpoint, "minute": row.minute, "version": row.version, "role": row.role}
    query = select(profiles.c.data).where(*(profiles.c[name] == value for name, value in key.items()))
    known = connection.execute(query).scalar()
    data = add_packed([row.data] if known is None else [known, row.data])
    upsert(connection, profiles, key | {"data": data})
