"""Brings spans to an OTLP receiver, from a thread of its own. Imported only where there is one: it is large."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from lockgate.dataplane.journal import say
from lockgate.dataplane.telemetry import attributes as names
from lockgate.dataplane.telemetry.seen import Seen

#: Requests that wait to be exported; more are dropped.
MOST_WAITING = 4096
#: Requests of one export. Small, for the interpreter does nothing else while it encodes them.
_AT_ONCE = 16
_EVERY_SECONDS = 1.0
_LAST_SECONDS = 3.0
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FIRST_FAULT = 500
#: What stands for the names in a path, so that a span's name is one of a few.
_PARTS = {("v2", "models"): "{m}", ("v1", "models"): "{m}", ("endpoints",): "{m}"}


class Exporter:
    """Takes requests that were answered and exports their spans."""

    def __init__(self, endpoint: str, service: str, worker: str, release: str, port: int) -> None:
        fields = {"service.version": release, "service.instance.id": worker}
        self._resource = Resource.create(fields | ({"service.name": service} if service else {}))
        self._scope = InstrumentationScope("lockgate.dataplane", release)
        self._port = port
        self._waiting: deque[Seen] = deque()
        self._stop = threading.Event()
        self.exported = 0
        #: Spans nobody took, and requests there was no room for.
        self.dropped = 0
        self._trouble = False
        # It would tell of every failure on its own, and in no form that anybody reads by a program.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._thread = threading.Thread(target=self._run, name="export spans", daemon=True)
        self._thread.start()

    def take(self, seen: Seen) -> None:
        """Take a request that has its answer."""
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(seen)

    def close(self) -> None:
        """Export what waits, for a moment at most."""
        self._stop.set()
        self._thread.join(_LAST_SECONDS)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self._export()
        self._export()

    def _export(self) -> None:
        # Monotonic times become times of day by what lies between the two just now.
        offset = time.time_ns() - time.monotonic_ns()
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            spans = [span for seen in taken for span in self._spans(seen, offset)]
            # It tries again by itself for as long as OTEL_EXPORTER_OTLP_TIMEOUT allows.
            good = self._exporter.export(spans) is SpanExportResult.SUCCESS
            if good:
                self.exported += len(spans)
            else:
                self.dropped += len(spans)
            if good is self._trouble:
                say("spans are exported again" if good else "spans cannot be exported", dropped=self.dropped)
            self._trouble = not good

    def _spans(self, seen: Seen, offset: int) -> Iterator[ReadableSpan]:
        state = TraceState.from_header([seen.state]) if seen.state else None
        trace_id = int(seen.trace_id, 16)
        own = SpanContext(trace_id, int(seen.span_id, 16), False, _SAMPLED, state)
        parent = None
        if seen.parent is not None:
            parent = SpanContext(trace_id, int(seen.parent.span_id, 16), True, _SAMPLED, state)
        name, given = described(seen)
        if seen.protocol != "grpc":
            given[names.SERVER_PORT] = self._port
        yield ReadableSpan(
            name,
            own,
            parent,
            self._resource,
            {**given, **_of_model(seen)},
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if seen.status >= _FIRST_FAULT else StatusCode.UNSET),
            start_time=int(seen.started * 1e9) + offset,
            end_time=int(seen.finished * 1e9) + offset,
            instrumentation_scope=self._scope,
        )
        if not seen.ended:
            return
        sizes = {names.BATCH_REQUESTS: seen.requests, names.BATCH_ROWS: seen.rows, names.LANE: seen.lane}
        for at, (child, begin, end) in enumerate(
            (("queue", seen.started, seen.began), ("predict", seen.began, seen.ended)), start=1
        ):
            # Derived from the request's own, which was drawn by chance, so the two differ from all others as well.
            span_id = (own.span_id + at) % (1 << 64) or 1
            yield ReadableSpan(
                child,
                SpanContext(trace_id, span_id, False, _SAMPLED, state),
                own,
                self._resource,
                sizes if child == "predict" else {},
                start_time=int(begin * 1e9) + offset,
                end_time=int(end * 1e9) + offset,
                instrumentation_scope=self._scope,
            )


def described(seen: Seen) -> tuple[str, dict[str, str | int]]:
    """A server span's name, and what its protocol tells of it."""
    path = seen.path.split(b"?", 1)[0].decode("latin-1")
    if seen.protocol == "grpc":
        service, _, method = path.strip("/").rpartition("/")
        found: dict[str, str | int] = {names.RPC_SYSTEM: "grpc", names.RPC_SERVICE: service, names.RPC_METHOD: method}
        if seen.code:
            found[names.ERROR_TYPE] = seen.code
        return f"{service}/{method}", found
    found = {names.METHOD: seen.method, names.URL_SCHEME: "http", names.STATUS: seen.status}
    if seen.code:
        found[names.ERROR_TYPE] = seen.code
    if not seen.endpoint:
        # An address that leads nowhere may hold anything, so it is not told.
        return seen.method, found
    route = _route(path)
    return f"{seen.method} {route}", found | {names.ROUTE: route, names.URL_PATH: path}


def _route(path: str) -> str:
    parts = path.strip("/").split("/")
    for known, hole in _PARTS.items():
        at = len(known)
        if tuple(parts[:at]) == known and len(parts) > at:
            # KServe's first protocol has what to do in the same part, behind a colon.
            verb = parts[at].partition(":")[2]
            parts[at] = f"{hole}:{verb}" if verb else hole
            if parts[at + 1 : at + 2] == ["versions"] and len(parts) > at + 2:
                parts[at + 2] = "{v}"
    return "/" + "/".join(parts)


def _of_model(seen: Seen) -> dict[str, str | int]:
    if not seen.endpoint:
        return {}
    model, _, number = seen.version.rpartition(":")
    found: dict[str, str | int] = {
        names.DEPLOYMENT: seen.endpoint,
        names.VARIANT: seen.role,
        names.MODEL_NAME: model,
        names.MODEL_VERSION: number,
        names.PREDICTION_ID: seen.prediction_id,
    }
    if seen.ended:
        found |= {names.BATCH_REQUESTS: seen.requests, names.BATCH_ROWS: seen.rows, names.LANE: seen.lane}
    return found
