"""A route table made ready to answer: each target with its loaded package and what its answers are stamped with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from lockgate.dataplane.counting import Tally
from lockgate.dataplane.exchange import Head
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.refusal import Refused, not_found, unavailable
from lockgate.domain.routing.table import WHOLE, EndpointRoute, Role, RouteTable, Target, pick, picker


class LiveTarget:
    """One version on one endpoint, in one generation."""

    def __init__(self, endpoint: str, environment: str, generation: int, target: Target, lane: Lane) -> None:
        self.endpoint = endpoint
        self.environment = environment
        self.generation = generation
        self.target = target
        self.version = target.version
        self.role = target.role.value
        self.lane = lane
        #: Where its live answers are counted, once there was one.
        self.tally: Tally | None = None
        #: What gRPC's answers are made of, once it was asked for.
        self.grpc: Any = None
        self._stamp = (
            "content-type: application/json\r\n"
            f"x-lockgate-version: {target.version}\r\nx-lockgate-generation: {generation}\r\n"
            "x-lockgate-prediction-id: "
        ).encode()
        self.oip_head = f'{{"model_name":"{endpoint}","model_version":"{target.number}"'.encode()
        self.oip_tail = f'","generation":{generation}}},"outputs":['.encode()

    def stamp_of(self, prediction_id: str) -> bytes:
        """The header lines that say who answered."""
        return b"%b%b\r\n" % (self._stamp, prediction_id.encode())


class LiveEndpoint:
    """How one endpoint is answered."""

    def __init__(self, route: EndpointRoute, generation: int, loaded: Mapping[str, Lane]) -> None:
        self.name = route.name
        self.route = route
        self.generation = generation
        self.environment = route.environment
        self.targets = {
            target.version: LiveTarget(route.name, route.environment, generation, target, loaded[target.package])
            for target in route.targets
            if target.package in loaded
        }
        self.by_number = {str(found.target.number): found for found in self.targets.values()}
        self._bounds, live = picker(route)
        #: A live version that could not be loaded leaves the whole endpoint closed rather than its share wrong.
        self.closed = not live or any(target.version not in self.targets for target in live)
        self._live = live
        #: Every version that may be picked; fewer than that while the endpoint is closed.
        self.live = tuple(self.targets[target.version] for target in live if target.version in self.targets)
        self._only = self.targets[live[0].version] if len(live) == 1 and not self.closed else None
        self.shadows = tuple(found for found in self.targets.values() if found.target.role is Role.SHADOW)

    def pick(self, key: str) -> LiveTarget:
        """The version that answers this key: always the same while the weights are."""
        if self._only is not None:
            return self._only
        if self.closed:
            raise unavailable(f"{self.name} has a version that cannot be loaded here")
        return self.targets[pick(self._bounds, self._live, bucket(self.name, key)).version]

    def pinned(self, number: str) -> LiveTarget:
        """The version of that number, whatever its share."""
        found = self.by_number.get(number)
        if found is None:
            raise not_found(
                f"{self.name} has no version {number!r:.40}", "it has " + (", ".join(self.by_number) or "none")
            )
        return found

    def shadows_of(self, key: str) -> list[LiveTarget]:
        """The shadows that are shown a request of this key."""
        # Another salt than `pick`, so that a shadow's share is drawn from all of the traffic.
        place = bucket("shadow:" + self.name, key)
        return [shadow for shadow in self.shadows if place < shadow.target.weight]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A route that goes on answering, for a newer one has a live version that cannot be loaded here."""

    generation: int
    route: EndpointRoute


class LiveTable:
    """One generation, whole; but an endpoint whose new route cannot be answered here goes on by the one it had."""

    def __init__(self, table: RouteTable, loaded: Mapping[str, Lane], older: Mapping[str, Held] | None = None) -> None:
        """``older``: by endpoint, the route to go on by."""
        self.table = table
        self.generation = table.generation
        #: What was found out from the heads of requests: opaque here.
        self.asked: dict[Head, Any] = {}
        self.loaded = dict(loaded)
        self.older = dict(older or {})
        self.endpoints = {route.name: self._endpoint(route) for route in table.endpoints}
        #: Endpoints that this generation did not reach: name -> the generation that answers, or -1 for none.
        self.held = {name: -1 if found.closed else found.generation for name, found in self._behind()}

    def _endpoint(self, route: EndpointRoute) -> LiveEndpoint:
        held = self.older.get(route.name)
        if held is None:
            return LiveEndpoint(route, self.generation, self.loaded)
        return LiveEndpoint(held.route, held.generation, self.loaded)

    def _behind(self) -> Iterator[tuple[str, LiveEndpoint]]:
        for name, found in self.endpoints.items():
            if found.generation < self.generation or (found.closed and found.route.live):
                yield name, found

    def in_force(self) -> dict[str, Held]:
        """By endpoint, the route that answers now; without those that cannot answer."""
        return {
            name: Held(generation=found.generation, route=found.route)
            for name, found in self.endpoints.items()
            if not found.closed
        }

    def endpoint(self, name: str) -> LiveEndpoint:
        """The endpoint of that name; raises Refused (404)."""
        found = self.endpoints.get(name)
        if found is None:
            raise not_found(f"there is no endpoint {name!r:.80}", "GET /v2/models lists them")
        return found

    def only(self) -> LiveEndpoint:
        """The one endpoint there is; raises Refused when a request must say which it means."""
        if len(self.endpoints) != 1:
            raise Refused(
                400,
                "endpoint_not_named",
                f"this gateway has {len(self.endpoints)} endpoints, and the request does not say which it means",
                hint="POST to /endpoints/<endpoint>/invocations, or send the header x-lockgate-endpoint",
            )
        return next(iter(self.endpoints.values()))


def bucket(name: str, key: str) -> int:
    """One of `WHOLE` buckets, the same for the same key in every gateway."""
    return int.from_bytes(blake2b(f"{name}\n{key}".encode(), digest_size=8).digest()) % WHOLE
