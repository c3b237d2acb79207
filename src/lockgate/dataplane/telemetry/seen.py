"""One request that is watched: what is known of it by the time it has its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.telemetry.traceparent import TRACEPARENT, TRACESTATE, Parent, state_of, written


class Seen:
    """A request's witness; tells its watch at the end."""

    __slots__ = (
        "began",
        "code",
        "ended",
        "endpoint",
        "finished",
        "lane",
        "method",
        "parent",
        "path",
        "prediction_id",
        "protocol",
        "requests",
        "role",
        "rows",
        "sampled",
        "span_id",
        "started",
        "state",
        "status",
        "tell",
        "trace_id",
        "version",
    )

    def __init__(
        self, exchange: Exchange, tell: Any, parent: Parent | None, *, sampled: bool, trace_id: str, span_id: str
    ) -> None:
        #: Called with this when there is an answer; gives nothing.
        self.tell = tell
        self.method = exchange.method
        self.path = exchange.path
        self.protocol = exchange.protocol
        #: Monotonic seconds: its first byte, the call that answered it, its answer. 0 where there was none.
        self.started = exchange.started
        self.began = self.ended = self.finished = 0.0
        self.parent = parent
        self.state = state_of(exchange.headers.get(TRACESTATE)) if parent is not None else ""
        self.sampled = sampled
        self.trace_id = trace_id
        self.span_id = span_id
        self.endpoint = self.version = self.role = self.prediction_id = self.lane = ""
        self.requests = self.rows = self.status = 0
        self.code = ""

    def routed(self, protocol: str, endpoint: str, version: str, role: str, prediction_id: str) -> None:
        """Which version is to answer it."""
        self.protocol = protocol
        self.endpoint, self.version, self.role, self.prediction_id = endpoint, version, role, prediction_id

    def called(self, began: float, ended: float, requests: int, rows: int, lane: str) -> None:
        """The call that answered it."""
        self.began, self.ended, self.requests, self.rows, self.lane = began, ended, requests, rows, lane

    def refused(self, refused: Refused) -> None:
        """The error it is answered with."""
        self.code = refused.code

    def answered(self, status: int) -> bytes:
        """It has its answer; the headers tell a caller where to look for its trace."""
        if self.finished:
            return b""
        self.finished = time.monotonic()
        self.status = status
        self.tell(self)
        if not self.sampled:
            return b""
        parent = written(self.trace_id, self.span_id, sampled=True).encode()
        # The second is what the next level of the recommendation calls it.
        return b"traceparent: %b\r\ntraceresponse: %b\r\n" % (parent, parent)

    @property
    def milliseconds(self) -> float:
        """From its first byte to its answer."""
        return (self.finished - self.started) * 1e3


#: For whom a lane in another process is asked just now.
_ASKING: ContextVar[Exchange | None] = ContextVar("asking", default=None)


def answered_for(exchanges: Iterable[Exchange | None]) -> None:
    """Say whom the call of this task answers: the first that is traced, else the first."""
    known = [exchange for exchange in exchanges if exchange is not None]
    traced = (exchange for exchange in known if isinstance(exchange.witness, Seen) and exchange.witness.sampled)
    _ASKING.set(next(traced, known[0] if known else None))


def headers_of_call() -> dict[str, str]:
    """`carrier_headers` of the request that this task's call answers; none outside of one."""
    return carrier_headers(_ASKING.get())


def carrier_headers(exchange: Exchange | None) -> dict[str, str]:
    """What goes with a call that is made for a request, so that both are in one trace.

    The span of the request itself where that is recorded; else what its caller sent, untouched.
    """
    if exchange is None:
        return {}
    witness = exchange.witness
    if isinstance(witness, Seen) and witness.sampled:
        found = {"traceparent": written(witness.trace_id, witness.span_id, sampled=True)}
        return {**found, "tracestate": witness.state} if witness.state else found
    header = exchange.headers.get(TRACEPARENT)
    if header is None or not header.isascii() or not header.decode().isprintable():
        return {}
    state = state_of(exchange.headers.get(TRACESTATE))
    return {"traceparent": header.decode(), **({"tracestate": state} if state else {})}
