"""Who is let in: everything that is refused before a body is read, so that refusing costs next to nothing."""

from __future__ import annotations

import math

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.limits import SHARES, Tenants
from lockgate.dataplane.options import Options
from lockgate.dataplane.plane import Plane
from lockgate.dataplane.refusal import Refused, overloaded

#: Bodies from here on count as long: their rows are computed in a thread, and wait for others there.
_LONG = 4096
#: Requests that always find room behind a turn of the loop which has just begun.
_FEW = 8


class Admission:
    """One worker's door."""

    def __init__(self, options: Options, plane: Plane) -> None:
        self._plane = plane
        self._most = {priority: math.ceil(options.max_inflight * share) for priority, share in SHARES.items()}
        self._tenants = Tenants(rate=options.tenant_rate, burst=options.tenant_burst, inflight=options.tenant_inflight)

    def enter(self, exchange: Exchange, lane: Lane, principal: str) -> None:
        """Let a request in, or not.

        Raises:
            Refused: 503 when it would wait too long, 429 when its caller has begun enough already.
        """
        plane, priority = self._plane, exchange.priority
        if plane.inflight >= self._most[priority]:
            raise overloaded("too many requests are under way")
        if not plane.waits(lane):
            if plane.collected >= _FEW or plane.threads.waiting:
                self._computed_here(exchange)
        elif not plane.queue(lane).admits(exchange.started, priority):
            raise overloaded("too many requests wait for this model")
        if self._tenants.limited:
            self._as_tenant(exchange, principal)

    def _computed_here(self, exchange: Exchange) -> None:
        plane, now, priority = self._plane, exchange.started, exchange.priority
        ahead = plane.collected
        if ahead >= _FEW:
            wait = now - plane.turn_began + ahead * plane.each
            if not plane.turn.admits(now, wait, ahead, priority):
                plane.flush()
                raise overloaded("this gateway is behind with what it has taken")
        threads = plane.threads
        long = threads.waiting and len(exchange.body) >= _LONG
        if long and not threads.delay.admits(now, threads.seconds, threads.waiting, priority):
            raise overloaded("this gateway is behind with the long requests it has taken")

    def _as_tenant(self, exchange: Exchange, principal: str) -> None:
        tenant, wait = self._tenants.enter(principal, exchange.started)
        if wait:
            raise Refused(
                429,
                "too_many_requests",
                f"{principal} sends more requests than each caller may",
                hint="send fewer at once, and wait as long as Retry-After says",
                headers=(("retry-after", str(math.ceil(wait))),),
            )
        exchange.tenant = tenant
