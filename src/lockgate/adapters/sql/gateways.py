"""When each gateway was last heard of, and what it served then."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Table, Text, select

from lockgate.adapters.sql.codec import decode, encode
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import Moment, metadata
from lockgate.adapters.sql.upsert import upsert
from lockgate.edge_ports import Heartbeat

gateways = Table(
    "gateways",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("told", Text, nullable=False),
    Column("seen_at", Moment, nullable=False, index=True),
)


class SqlGateways:
    """Knows which gateways are alive, and what they serve."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, heard: Heartbeat) -> None:
        """Write down what one told of itself."""
        values = {"worker": heard.worker, "told": encode(heard), "seen_at": heard.seen_at}
        with self._database.writing(lock=None) as connection:
            upsert(connection, gateways, values)

    def alive(self, since: datetime) -> list[Heartbeat]:
        """Those heard of at ``since`` or later, by name."""
        query = select(gateways.c.told).where(gateways.c.seen_at >= since).order_by(gateways.c.worker)
        with self._database.reading() as connection:
            return [decode(Heartbeat, told) for told in connection.execute(query).scalars()]
