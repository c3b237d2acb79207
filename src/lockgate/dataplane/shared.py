"""What all HTTP/1.1 connections of a worker have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.limits import Storm
from lockgate.dataplane.options import Options


class Held(Protocol):
    """Knows when a connection has to end."""

    def check_time(self, now: float) -> None: ...

    def end_if_idle(self, now: float, seconds: float) -> None: ...


class Shared:
    """What all connections of a worker have in common."""

    def __init__(self, options: Options, handle: Callable[[Exchange], None]) -> None:
        self.options = options
        self.handle = handle
        self.connections: set[Held] = set()
        #: Set when the worker was told to stop: each answer from then on ends its connection.
        self.draining = False
        #: Bytes of bodies read and not yet answered.
        self.body_bytes = 0
        self.refused_connections = 0
        #: Requests answered by the connections themselves: malformed, too large, too slow.
        self.refusals: dict[str, int] = {}
        #: Heads of whole requests that were read before, by their bytes.
        self.heads: dict[bytes, Head] = {}
        #: How many are turned away, to rest from those who come back without waiting.
        self.storm = Storm()

    def sweep(self, now: float) -> None:
        """End connections that are too slow; called about once a second."""
        for connection in list(self.connections):
            connection.check_time(now)
