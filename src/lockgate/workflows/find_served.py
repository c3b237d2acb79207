"""Which version answered on an endpoint at a moment, and the proof of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lockgate.base.errors import NotFound
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.routing.table import EndpointRoute, RouteTable
from lockgate.ports import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Who answered what share of an endpoint at a moment."""

    endpoint: str
    at: datetime
    generation: int
    published_at: datetime
    #: Why that generation was published.
    reason: str
    route: EndpointRoute


def find_served(store: Store, endpoint_id: str, at: datetime) -> Served:
    """Look through the generations, newest first, for the one in force at ``at``.

    Raises:
        NotFound: no such endpoint, or nothing answered there at that time.
    """
    with store.reading() as tx:
        tx.get(Endpoint, endpoint_id)
        in_force = tx.find(RouteTable, order="-published_at", until=at, limit=1)
    table = in_force[0] if in_force else None
    route = table.endpoint(endpoint_id) if table else None
    if table is None or route is None:
        raise NotFound(f"nothing answered on {endpoint_id} at {at.isoformat()}")
    return Served(
        endpoint=endpoint_id,
        at=at,
        generation=table.generation,
        published_at=table.published_at,
        reason=table.reason,
        route=route,
    )
