"""Publish the next route generation, in which one endpoint is answered differently."""

from __future__ import annotations

from datetime import datetime

from lockgate.domain.registry.manifest import to_plain
from lockgate.domain.routing.table import EndpointRoute, RouteTable, with_endpoint
from lockgate.ports import Transaction


def latest_table(tx: Transaction, at: datetime) -> RouteTable:
    """The newest generation; generation 0, with no endpoints, before anything was published."""
    newest = tx.find(RouteTable, order="-generation", limit=1)
    if newest:
        return newest[0]
    return RouteTable(id="0", generation=0, published_at=at, reason="nothing is published yet", endpoints=())


def publish_route(tx: Transaction, route: EndpointRoute, *, reason: str, at: datetime) -> RouteTable:
    """Append generation n+1 with ``route`` in it, as part of the caller's transaction."""
    table = latest_table(tx, at)
    before = table.endpoint(route.name)
    # A change that was meant earlier may come later: who served when is read from these times, so they never go back.
    following = tx.add(with_endpoint(table, route, reason=reason, at=max(at, table.published_at)))
    tx.record(
        "routes.published",
        following,
        before={"generation": table.generation, "route": to_plain(before) if before else None},
        after={"generation": following.generation, "route": to_plain(route)},
    )
    return following
