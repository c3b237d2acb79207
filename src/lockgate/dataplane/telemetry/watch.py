"""Decides, before anything else is done, whether a request is watched: almost none is, and that costs one coin."""

from __future__ import annotations

import random
import time
from typing import Any, Protocol

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.journal import say
from lockgate.dataplane.telemetry.seen import Seen
from lockgate.dataplane.telemetry.settings import TelemetrySettings
from lockgate.dataplane.telemetry.traceparent import TRACEPARENT, Parent, parsed

_FIRST_ERROR = 400
#: Larger than any number a coin shows.
_ALWAYS = 2.0


class Spans(Protocol):
    """Knows how to bring spans to where they are looked at."""

    def take(self, seen: Seen) -> None:
        """Take a request that has its answer; never blocks and never fails."""
        ...


class Watch:
    """Begins witnesses, and hears from them at the end."""

    def __init__(self, settings: TelemetrySettings, spans: Spans | None = None) -> None:
        self._settings = settings
        self._spans = spans
        # One line for each request, or for each that goes wrong: which it is shows only at the end.
        self._all = settings.access_log in ("errors", "all")
        on = spans is not None or settings.access_log != "off"
        #: A request whose coin shows less than this is looked at more closely.
        self.rate = 0.0 if not on else _ALWAYS if self._all else settings.traces_sample
        #: Whether callers' traces are looked at.
        self.on = on
        self.coin = random.random
        self._second = 0
        self._taken = 0
        self.sampled = 0
        #: Not traced although they should have been, for there were too many.
        self.capped = 0

    def begin(self, exchange: Exchange) -> None:
        """Give a request its witness, if it needs one."""
        if not self.on or exchange.method != "POST" or exchange.witness is not None:
            return
        header = exchange.headers.get(TRACEPARENT)
        parent = None if header is None else parsed(header)
        sampled = self._decide(parent, thrown=header is None and not self._all)
        if not (sampled or self._all):
            return
        trace_id = parent.trace_id if parent is not None else f"{_bits(128):032x}"
        exchange.witness = Seen(
            exchange, self._told, parent, sampled=sampled, trace_id=trace_id, span_id=f"{_bits(64):016x}"
        )

    def _decide(self, parent: Parent | None, *, thrown: bool) -> bool:
        # A trace is whole or not at all: where a caller has decided, its word holds.
        wanted = parent.sampled if parent is not None else thrown or self.coin() < self._settings.traces_sample
        if not wanted:
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken >= self._settings.traces_per_second:
            self.capped += 1
            return False
        self._taken += 1
        self.sampled += 1
        return True

    def _told(self, seen: Seen) -> None:
        if seen.sampled and self._spans is not None:
            self._spans.take(seen)
        log = self._settings.access_log
        if log == "all" or (log == "errors" and seen.status >= _FIRST_ERROR) or (log == "sampled" and seen.sampled):
            say("a request", **line_of(seen))


def line_of(seen: Seen) -> dict[str, Any]:
    """A request's line in the access log: nothing of what was asked or answered, and no token."""
    found = {
        "method": seen.method,
        "path": seen.path.split(b"?", 1)[0].decode("latin-1")[:200],
        "protocol": seen.protocol,
        "status": seen.status,
        "code": seen.code,
        "endpoint": seen.endpoint,
        "version": seen.version,
        "role": seen.role,
        "prediction_id": seen.prediction_id,
        "ms": round(seen.milliseconds, 3),
    }
    return {name: value for name, value in found.items() if value != ""} | trace_of(seen)


def trace_of(witness: object) -> dict[str, str]:
    """The fields of a journal line that concerns a request: none unless it is traced."""
    if isinstance(witness, Seen) and witness.sampled:
        return {"trace_id": witness.trace_id, "span_id": witness.span_id}
    return {}


def _bits(count: int) -> int:
    # Ids must differ, not be secret; 0 stands for none.
    return random.getrandbits(count) or 1
