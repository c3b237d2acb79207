"""What the parts of a worker count for themselves, told to its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockgate.dataplane.counting import Counting
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.http2.shared import Shared as Calls
from lockgate.dataplane.metrics import Metrics
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.shared import Shared
from lockgate.dataplane.telemetry.snapshot import Family
from lockgate.dataplane.telemetry.watch import Watch

if TYPE_CHECKING:
    from lockgate.dataplane.telemetry.otlp import Exporter

_LANE = ("worker", "endpoint", "version")
_QUEUED = Family("lockgate_queue_requests", "gauge", "Requests that wait for a lane.", _LANE, alive=True)
_CALLS = Family("lockgate_lane_calls", "gauge", "Calls under way in a lane.", _LANE, alive=True)
_UNREADABLE = Family("lockgate_unreadable_total", "counter", "Requests that could not be read, by reason.", ("code",))

Number = tuple[Family, tuple[str, ...], float]


class Lanes:
    """Tells what waits for lanes in other processes, and how much they are busy with."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routed(self) -> set[tuple[str, str]]:
        """Every endpoint with each of its versions."""
        table = self._gateway.table
        endpoints = () if table is None else table.endpoints.values()
        return {(endpoint.name, name) for endpoint in endpoints for name in endpoint.targets}

    def numbers(self) -> Iterator[Number]:
        """The gauges of each version."""
        table = self._gateway.table
        for endpoint in () if table is None else table.endpoints.values():
            for target in endpoint.targets.values():
                queue = target.lane.queue
                if queue is not None:
                    labels = (self._gateway.options.worker, target.endpoint, target.version)
                    yield _QUEUED, labels, queue.waiting
                    yield _CALLS, labels, queue.under_way


def tell_of_requests(metrics: Metrics, gateway: Gateway, shared: Shared, calls: Calls) -> None:
    """Tell of what comes in and waits."""
    plane, lanes = gateway.plane, Lanes(gateway)
    plane.refused = metrics.refused
    metrics.routed = lanes.routed

    def unreadable() -> Iterator[Number]:
        for code, count in (*shared.refusals.items(), *calls.faults.items()):
            yield _UNREADABLE, (code,), count

    def generation() -> int:
        return 0 if gateway.table is None else gateway.table.generation

    metrics.sources += [((_QUEUED, _CALLS), lanes.numbers), ((_UNREADABLE,), unreadable)]
    metrics.gauges += [
        ("lockgate_generation", "gauge", "Route generation in force.", generation),
        ("lockgate_inflight_requests", "gauge", "Requests under way.", lambda: plane.inflight),
        ("lockgate_shadow_dropped_total", "counter", "Not shown to a shadow.", lambda: plane.shadow_dropped),
    ]


def tell_of_records(metrics: Metrics, gateway: Gateway, log: PredictionLog, counting: Counting) -> None:
    """Tell of what is written down."""
    writer, plane = log.writer, gateway.plane
    metrics.gauges += [
        ("lockgate_log_written_total", "counter", "Requests in the prediction log.", lambda: writer.written),
        ("lockgate_log_dropped_total", "counter", "Requests the log could not take.", lambda: writer.dropped),
        ("lockgate_log_sync_failures_total", "counter", "Failed syncs of it.", lambda: writer.sync_failures),
        ("lockgate_log_withheld_total", "counter", "Answers kept back for it failed.", lambda: plane.unrecorded),
        ("lockgate_log_waiting_bytes", "gauge", "Prediction log that nobody carried away yet.", lambda: log.backlog),
        ("lockgate_log_damaged_segments", "gauge", "Parts of it that were damaged and set aside.", lambda: log.damaged),
        ("lockgate_profiles_dropped_total", "counter", "Profile deltas given up.", lambda: counting.dropped),
    ]
    sink = log.sink
    if sink is not None:
        metrics.gauges += [
            ("lockgate_events_sent_total", "counter", "Payload events that were taken.", lambda: sink.sent),
            ("lockgate_events_dropped_total", "counter", "Payload events given up.", lambda: sink.dropped),
            ("lockgate_events_waiting_bytes", "gauge", "Payloads that wait to be sent.", lambda: sink.waiting),
        ]


def tell_of_traces(metrics: Metrics, watch: Watch, spans: Exporter | None) -> None:
    """Tell of traces, where there are any."""
    if spans is None:
        return
    metrics.gauges += [
        ("lockgate_traces_total", "counter", "Requests that were traced.", lambda: watch.sampled),
        ("lockgate_traces_capped_total", "counter", "Not traced, for there were too many.", lambda: watch.capped),
        ("lockgate_spans_exported_total", "counter", "Spans the receiver took.", lambda: spans.exported),
        ("lockgate_spans_dropped_total", "counter", "Spans nobody took.", lambda: spans.dropped),
    ]
