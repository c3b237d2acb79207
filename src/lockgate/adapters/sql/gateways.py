"""When each gateway was last heard of, and what it served then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import BigInteger, Column, Integer, Table, Text, select

from lockgate.adapters.sql.codec import encode
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.tables import Moment, metadata
from lockgate.adapters.sql.upsert import upsert
from lockgate.base.clock import Clock
from lockgate.edge_ports import Heartbeat

gateways = Table(
    "gateways",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("boot", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("counters", Text, nullable=False),
    Column("seen_at", Moment, nullable=False, index=True),
)


class SqlGateways:
    """Knows which gateways are alive, and what they serve."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def note(
        self, worker: str, boot: str, generation: int, pid: int, counters: Mapping[str, float] | None = None
    ) -> None:
        """Write down that one was heard of just now."""
        values = {
            "worker": worker,
            "boot": boot,
            "generation": generation,
            "pid": pid,
            "counters": encode(dict(counters or {})),
            "seen_at": self._clock.now(),
        }
        with self._database.writing(lock=None) as connection:
            upsert(connection, gateways, values)

    def alive(self, since: datetime) -> list[Heartbeat]:
        """Those heard of at ``since`` or later, by name."""
        query = select(gateways).where(gateways.c.seen_at >= since).order_by(gateways.c.worker)
        with self._database.reading() as connection:
            return [
                Heartbeat(
                    worker=row.worker,
                    boot=row.boot,
                    generation=row.generation,
                    pid=row.pid,
                    counters=json.loads(row.counters),
                    seen_at=row.seen_at,
                )
                for row in connection.execute(query)
            ]
