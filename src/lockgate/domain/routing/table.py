"""Route tables: append-only generations that gateways take whole.

The history of generations is the proof of which version answered when, so a table is never edited.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import accumulate

from lockgate.base.errors import Invalid

#: Weights are counted in ten-thousandths, so 1 is 0.01 % of the traffic.
WHOLE = 10_000
#: The role under which requests for a version by its number are counted; they judge nobody but a preview.
PINNED = "pinned"


class Role(StrEnum):
    """What a version does on an endpoint."""

    LIVE = "live"  # answers callers, by weight
    SHADOW = "shadow"  # sees the requests, its answers are thrown away
    WARM = "warm"  # loaded and ready, answers nobody


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One version on an endpoint."""

    #: Version id, ``model:number``.
    version: str
    number: int
    #: Content address of the package; its manifest is the blob of this digest.
    package: str
    role: Role
    #: Share of the endpoint's traffic in ten-thousandths; for a shadow, the share it is shown.
    weight: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointRoute:
    """How one endpoint is answered."""

    #: ``model.environment``
    name: str
    model: str
    environment: str
    targets: tuple[Target, ...]

    @property
    def live(self) -> tuple[Target, ...]:
        return tuple(target for target in self.targets if target.role is Role.LIVE and target.weight > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteTable:
    """All endpoints at one generation. Its id is the generation as text."""

    id: str
    revision: int = 0
    generation: int
    published_at: datetime
    reason: str
    endpoints: tuple[EndpointRoute, ...]

    def endpoint(self, name: str) -> EndpointRoute | None:
        return next((route for route in self.endpoints if route.name == name), None)


def endpoint_name(model: str, environment: str) -> str:
    """What callers address."""
    return f"{model}.{environment}"


def check(route: EndpointRoute) -> EndpointRoute:
    """Refuse a route whose live weights are not the whole of the traffic.

    Raises:
        Invalid: weights out of range, not summing to `WHOLE`, or a version named twice.
    """
    versions = [target.version for target in route.targets]
    if len(set(versions)) != len(versions):
        raise Invalid(f"{route.name} names a version twice")
    if any(not 0 <= target.weight <= WHOLE for target in route.targets):
        raise Invalid(f"{route.name} has a weight outside 0 to {WHOLE}")
    total = sum(target.weight for target in route.live)
    if total != WHOLE:
        raise Invalid(f"the live weights of {route.name} sum to {total}, not {WHOLE}")
    return route


def with_endpoint(table: RouteTable, route: EndpointRoute, *, reason: str, at: datetime) -> RouteTable:
    """The next generation, in which one endpoint is answered by ``route``."""
    others = tuple(known for known in table.endpoints if known.name != route.name)
    generation = table.generation + 1
    return replace(
        table,
        id=str(generation),
        revision=0,
        generation=generation,
        published_at=at,
        reason=reason,
        endpoints=tuple(sorted((*others, check(route)), key=lambda known: known.name)),
    )


def picker(route: EndpointRoute) -> tuple[list[int], Sequence[Target]]:
    """Upper bounds of each live target's buckets, for `pick`."""
    live = route.live
    return list(accumulate(target.weight for target in live)), live


def pick(bounds: list[int], live: Sequence[Target], bucket: int) -> Target:
    """The target that owns ``bucket`` (0 to `WHOLE` - 1)."""
    return live[bisect.bisect_right(bounds, bucket)]
