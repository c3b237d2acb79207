"""What all HTTP/2 connections of a worker have in common, and how much of a nuisance one may be."""

from __future__ import annotations

from typing import Protocol

from lockgate.dataplane.http2.stream import Application
from lockgate.dataplane.options import Options

#: Requests of one connection that may be under way.
MAX_STREAMS = 512
#: What costs a server work and brings a caller nothing: so many at once, so many a second.
_NUISANCE_BURST, _NUISANCE_RATE = 5000.0, 2000.0


class Watched(Protocol):
    """A connection, as far as the worker looks after it."""

    def check_time(self, now: float) -> None: ...

    def warn(self) -> None: ...

    def end(self) -> None: ...


class Shared:
    """The worker's side of its connections."""

    def __init__(self, options: Options, application: Application) -> None:
        self.options = options
        self.application = application
        self.connections: set[Watched] = set()
        #: Set when the worker was told to stop: callers are asked to go elsewhere with what they have not sent yet.
        self.draining = False
        #: Bytes of bodies read and not yet answered.
        self.body_bytes = 0
        self.refused_connections = 0
        #: Connections that were ended for what they sent, by the error of HTTP/2.
        self.faults: dict[str, int] = {}

    def sweep(self, now: float) -> None:
        """End connections that are too slow; called about once a second."""
        for connection in list(self.connections):
            connection.check_time(now)

    def drain(self) -> None:
        """Ask all callers to go elsewhere; what they have sent already, and still send meanwhile, is answered."""
        self.draining = True
        for connection in list(self.connections):
            connection.warn()

    def end(self) -> None:
        """Take no more requests on any connection; each ends when its last answer is gone."""
        for connection in list(self.connections):
            connection.end()


class Patience:
    """Counts what one connection does that only costs; a bucket that fills again with time."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = _NUISANCE_BURST
        self._at = now

    def lost(self, cost: float, now: float) -> bool:
        """Whether this was too much."""
        self._left = min(_NUISANCE_BURST, self._left + (now - self._at) * _NUISANCE_RATE) - cost
        self._at = now
        return self._left < 0
