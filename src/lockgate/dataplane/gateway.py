"""From a request to the plane: who asks, for what, by which version, with what values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from lockgate.dataplane import invocations, oip
from lockgate.dataplane.access import Access
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.ids import PredictionIds
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer
from lockgate.dataplane.options import Options
from lockgate.dataplane.plane import Plane
from lockgate.dataplane.refusal import Refused, bad_input, overloaded, unavailable
from lockgate.dataplane.routing import PINNED, LiveEndpoint, LiveTable, LiveTarget
from lockgate.domain.monitoring.layout import Failure

_MOST_KEY = 1024

Read = Callable[[Exchange, LiveTarget], tuple[Inputs, Callable[[Ask, Answer], bytes]]]


class Gateway:
    """One worker's state, and what it does with a request to predict."""

    def __init__(self, options: Options, plane: Plane, counting: Counting) -> None:
        self.options = options
        self.plane = plane
        self.counting = counting
        self.table: LiveTable | None = None
        self.access = Access("", ())
        self.draining = False
        self._ids = PredictionIds(int.from_bytes(os.urandom(5)))

    @property
    def ready(self) -> bool:
        """Whether it has routes, and was not told to stop."""
        return self.table is not None and not self.draining

    def routes(self) -> LiveTable:
        """The table in force; raises Refused (503) before the first one."""
        if self.table is None:
            raise unavailable("this gateway has no routes yet", "wait for GET /v2/health/ready")
        return self.table

    def permitted(self, exchange: Exchange, environment: str = "") -> str:
        """The principal; raises Refused, with 503 while nobody's rights are known yet."""
        self.routes()
        return self.access.check(exchange.headers.get(b"authorization"), environment)

    def endpoint(self, exchange: Exchange, name: str) -> LiveEndpoint:
        """An endpoint that the caller may ask; only those who may predict learn whether it exists."""
        table = self.routes()
        found = table.endpoints.get(name)
        self.access.check(exchange.headers.get(b"authorization"), "" if found is None else found.environment)
        return table.endpoint(name) if found is None else found

    def infer(self, exchange: Exchange, name: str, number: str | None) -> None:
        """``POST /v2/models/{m}[/versions/{v}]/infer``."""
        if b"inference-header-content-length" in exchange.headers:
            raise bad_input("binary tensors are not served here", "send JSON tensors")
        self._predict(exchange, self.endpoint(exchange, name), number, _read_oip)

    def invoke(self, exchange: Exchange, name: str | None) -> None:
        """``POST [/endpoints/{e}]/invocations``."""
        if name is None:
            self.permitted(exchange)
            header = exchange.headers.get(b"x-lockgate-endpoint")
            name = self.routes().only().name if header is None else header.decode("latin-1")
        self._predict(exchange, self.endpoint(exchange, name), None, _read_invocation)

    def _predict(self, exchange: Exchange, endpoint: LiveEndpoint, number: str | None, read: Read) -> None:
        prediction_id = self._ids.new(time.time_ns() // 1_000_000)
        header = exchange.headers.get(b"x-lockgate-key")
        if header is not None and len(header) > _MOST_KEY:
            raise bad_input(f"the routing key is longer than {_MOST_KEY} bytes")
        key = prediction_id if header is None else header.decode("latin-1")
        shadows: Sequence[LiveTarget] = ()
        if number is None:
            target, role = endpoint.pick(key), "live"
            if endpoint.shadows:
                shadows = endpoint.shadows_of(key)
        else:
            target, role = endpoint.pinned(number), PINNED
        tally = self.counting.tally(endpoint.name, target.version, role, target.lane)
        if self.plane.inflight >= self.options.max_inflight:
            tally.failed(Failure.SHED, 503)
            raise overloaded("too many requests are under way")
        if b"content-encoding" in exchange.headers:
            raise Refused(415, "unsupported_encoding", "compressed bodies are not taken", hint="send the body as it is")
        try:
            inputs, encode = read(exchange, target)
        except Refused as refused:
            tally.failed(Failure.INVALID_INPUT, refused.status)
            raise
        exchange.body = b""
        self.plane.submit(Ask(exchange, target, tally, role, prediction_id, inputs, encode, shadows))


def _read_oip(exchange: Exchange, target: LiveTarget) -> tuple[Inputs, Callable[[Ask, Answer], bytes]]:
    return oip.read(exchange.body, target.lane)


def _read_invocation(exchange: Exchange, target: LiveTarget) -> tuple[Inputs, Callable[[Ask, Answer], bytes]]:
    kind = exchange.headers.get(b"content-type", b"")
    return invocations.read(exchange.body, kind, target.lane.intake), invocations.write
