"""Real gateway workers, scraped and traced by what people scrape and trace them with."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from ruamel.yaml import YAML

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.grpc.schema import message
from lockgate.domain.routing.table import Role
from tests.serving import (
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    free_port,
    gateway,
    keep_classifier,
    oip_body,
    route,
    table,
    target,
    until,
)

CLIENTS = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"
INFER = "/v2/models/thyroid.prod/infer"
ROW = oip_body([[0.1, 0.2, 0.3, 0.4]])
ANSWERED = 'lockgate_requests_total{endpoint="thyroid.prod",version="thyroid:1",role="live",code="200",protocol="oip"}'
TOOK = 'lockgate_request_duration_seconds_count{endpoint="thyroid.prod",version="thyroid:1",role="live"}'
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

#: Reads a scrape with Prometheus' own parser; it is strict about the second form.
PARSE = """
import json, sys
form, text = sys.argv[1], sys.stdin.read()
if form == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
else:
    from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[f.name, f.type, f.unit, [[s.name, s.labels, s.value] for s in f.samples]] for f in parse(text)]))
"""


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlPlane]:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    package, other = keep_classifier(blobs), keep_classifier(blobs, seed=1)
    with control_plane() as control:
        control.publish(table(1, route("thyroid.prod", target(package, 1), target(other, 2, Role.SHADOW, 10_000))))
        yield control


def started(process: GatewayProcess, worker: str) -> GatewayProcess:
    ready = process.home / "gateway" / worker / "ready"
    until(lambda: ready.exists() and ready.read_text() == str(process.process.pid), 30.0)
    return process


def scraped(process: GatewayProcess) -> str:
    return talked(process, "GET", "/metrics")[1]


def numbers(process: GatewayProcess) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in scraped(process).splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines}


def ask(process: GatewayProcess, times: int) -> Counter[int]:
    """Ask on a new connection each time, so that every worker of the port gets some; gives how often what came."""
    came: Counter[int] = Counter()
    for _ in range(times):
        try:
            came[talked(process, "POST", INFER, json.dumps(ROW))[0]] += 1
        except (OSError, HTTPException):
            came[0] += 1
    return came


def talked(process: GatewayProcess, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", process.port, timeout=20)
    with closing(connection):
        connection.request(method, path, body, {"authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def parsed(text: str, form: str) -> dict[str, Any]:
    done = subprocess.run([CLIENTS, "-c", PARSE, form], input=text, capture_output=True, text=True, check=True)
    return {name: (kind, unit, samples) for name, kind, unit, samples in json.loads(done.stdout)}


def test_every_worker_tells_of_all_and_counters_never_fall_though_one_is_killed(
    tmp_path: Path, control: ControlPlane
) -> None:
    port = free_port()
    quiet = {"LOCKGATE_GATEWAY_GRPC_PORT": "0"}
    with gateway(tmp_path, control.url, port, LOCKGATE_WORKER="0", **quiet) as first:
        with gateway(tmp_path, control.url, port, LOCKGATE_WORKER="1", **quiet) as second:
            started(first, "0")
            started(second, "1")
            assert ask(first, 60) == {200: 60}
            # What the other one counted is at most a moment old.
            until(lambda: numbers(first)[ANSWERED] == numbers(first)[TOOK] == 60)
            until(lambda: sum(name.startswith("lockgate_worker_info") for name in numbers(first)) == 2)
            seen, falls, stop = [60.0], list[tuple[float, float]](), threading.Event()

            def watch() -> None:
                while not stop.is_set():
                    try:
                        found = numbers(first)[ANSWERED]
                    except (OSError, HTTPException):
                        continue
                    if found < seen[-1]:
                        falls.append((seen[-1], found))
                    seen.append(found)

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            came = ask(first, 300)
            second.process.send_signal(signal.SIGKILL)
            second.process.wait()
            came += ask(first, 50)
        with gateway(tmp_path, control.url, port, LOCKGATE_WORKER="1", **quiet) as again:
            started(again, "1")
            came += ask(first, 50)
            until(lambda: numbers(first)['lockgate_generation{worker="1"}'] == 1)
            stop.set()
            watcher.join()
            assert falls == []
            assert len(seen) > 30
            # Nothing is lost but what the killed one counted in its last second.
            assert 60 + came[200] - 300 <= until(lambda: numbers(again).get(ANSWERED)) <= 60 + came[200]


def test_prometheus_own_parsers_read_every_form_and_what_is_drawn_of_it_is_there(
    tmp_path: Path, control: ControlPlane
) -> None:
    with (
        receiver() as (url, _),
        gateway(
            tmp_path, control.url, LOCKGATE_GATEWAY_METRICS="open", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url
        ) as process,
    ):
        process.ready()
        ask(process, 5)
        with process.client() as client:
            client.post(INFER, content=b"{")
            body = {"inputs": [[0.1, 0.2, 0.3, 0.4]]}
            assert client.post("/endpoints/thyroid.prod/invocations", json=body).status_code == 200
        text = httpx.get(f"{process.url}/metrics").text
        plain = parsed(text, "text")
        strict = parsed(
            httpx.get(f"{process.url}/metrics", headers={"accept": "application/openmetrics-text"}).text, "openmetrics"
        )
    assert set(plain) == set(strict)
    kind, unit, samples = strict["lockgate_requests"]
    assert (kind, unit) == ("counter", "")
    live = [(labels["code"], labels["protocol"], value) for _, labels, value in samples if labels["role"] == "live"]
    assert sorted(live) == [("200", "mlflow", 1), ("200", "oip", 5), ("400", "oip", 1)]
    assert strict["lockgate_request_duration_seconds"][:2] == ("histogram", "seconds")
    for name, count in (("lockgate_batch_rows", 6), ("lockgate_request_duration_seconds", 6)):
        found = {labels["role"]: value for kind, labels, value in strict[name][2] if kind == f"{name}_count"}
        assert found["live"] == count
    phases = {
        labels["phase"]: value
        for name, labels, value in strict["lockgate_phase_duration_seconds"][2]
        if name.endswith("_count") and labels["role"] == "live"
    }
    assert phases == {"wait": 6, "predict": 6}
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    named |= {f"{name}_{part}" for name in named for part in ("bucket", "sum", "count")}
    assert drawn() - named == set()


def drawn() -> set[str]:
    """Every metric that the dashboard and the alerts speak of."""
    folder = files("lockgate.templates") / "observability"
    dashboard = json.loads((folder / "grafana-dashboard.json").read_text())
    expressions = [aim["expr"] for panel in dashboard["panels"] for aim in panel["targets"]]
    rules = YAML(typ="safe", pure=True).load((folder / "alerts.yaml").read_text())
    expressions += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(expressions) > 30
    found = set(
        re.findall(r"\b(?:lockgate|process)_[a-z_]+", " ".join(re.sub(r'"[^"]*"', "", text) for text in expressions))
    )
    scrape = YAML(typ="safe", pure=True).load((folder / "prometheus.yaml").read_text())
    assert scrape["scrape_configs"][0]["metrics_path"] == "/metrics"
    return found


# --- traces


@contextmanager
def receiver(status: int = 200) -> Generator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP receiver: its address, and what it was sent."""
    sent: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if status == 200:
                sent.append(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", sent
    finally:
        server.shutdown()
        server.server_close()


def spans_of(sent: list[ExportTraceServiceRequest]) -> list[Any]:
    return [
        span
        for request in list(sent)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(given: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in given.attributes}


def test_a_callers_trace_goes_on_through_the_gateway(tmp_path: Path, control: ControlPlane) -> None:
    with (
        receiver() as (url, sent),
        gateway(
            tmp_path,
            control.url,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url,
            OTEL_SERVICE_NAME="my-gateway",
            LOCKGATE_TRACES_SAMPLE="0",
            LOCKGATE_GATEWAY_ACCESS_LOG="sampled",
        ) as process,
    ):
        process.ready()
        before = time.time_ns()
        with process.client() as client:
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1", "x-lockgate-key": "jane.doe"}
            good = client.post(INFER, json=ROW, headers=headers)
            bad = client.post(INFER, json=oip_body([[1.0]]), headers=headers)
            client.post(INFER, json=ROW, headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
            plain = client.post(INFER, json=ROW)
        assert "traceparent" not in plain.headers
        until(lambda: len(spans_of(sent)) == 4)
        lines = [json.loads(line) for line in process.stderr_path.read_text().splitlines()]
        until(lambda: numbers(process)["lockgate_spans_exported_total"] == 4)
    server, queue, predict = (
        next(span for span in spans_of(sent) if span.name == name)
        for name in ("POST /v2/models/{m}/infer", "queue", "predict")
    )
    assert {span.trace_id.hex() for span in spans_of(sent)} == {TRACE}
    assert (server.parent_span_id.hex(), server.kind, server.trace_state) == (SPAN, 2, "vendor=1")
    assert queue.parent_span_id == predict.parent_span_id == server.span_id
    assert good.headers["traceparent"] == good.headers["traceresponse"] == f"00-{TRACE}-{server.span_id.hex()}-01"
    assert before <= server.start_time_unix_nano <= queue.end_time_unix_nano <= time.time_ns()
    assert queue.end_time_unix_nano == predict.start_time_unix_nano <= predict.end_time_unix_nano
    assert predict.end_time_unix_nano <= server.end_time_unix_nano
    found = attributes(server)
    assert found["http.response.status_code"] == 200
    assert (found["ml.deployment.name"], found["ml.model.name"], found["ml.model.version"]) == (
        "thyroid.prod",
        "thyroid",
        "1",
    )
    assert found["ml.prediction.id"] == good.headers["x-lockgate-prediction-id"]
    assert (found["ml.deployment.variant"], found["ml.batch.rows"], found["ml.lane"]) == ("live", 1, "onnxruntime")
    refused = next(span for span in spans_of(sent) if attributes(span).get("http.response.status_code") == 400)
    assert attributes(refused)["error.type"] == "invalid_input"
    # The caller's mistake is no error of the server's.
    assert refused.status.code == 0
    assert bad.headers["traceparent"].split("-")[2] == refused.span_id.hex()
    assert attributes(sent[0].resource_spans[0].resource)["service.name"] == "my-gateway"
    assert "jane.doe" not in str(sent)
    [one, other] = [line for line in lines if line["event"] == "a request"]
    assert (one["trace_id"], one["span_id"], one["worker"]) == (TRACE, server.span_id.hex(), "0")
    assert (one["prediction_id"], one["status"], other["code"]) == (found["ml.prediction.id"], 200, "invalid_input")


def test_a_trace_goes_on_through_grpc(tmp_path: Path, control: ControlPlane) -> None:
    request = message("inference.ModelInferRequest")(model_name="thyroid.prod")
    request.inputs.add(name="input", datatype="FP32", shape=(1, 4)).contents.fp32_contents.extend((0.1, 0.2, 0.3, 0.4))
    metadata = (("authorization", f"Bearer {TOKEN}"), ("traceparent", f"00-{TRACE}-{SPAN}-01"))
    with (
        receiver() as (url, sent),
        gateway(tmp_path, control.url, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url) as process,
        grpc.insecure_channel(f"127.0.0.1:{process.grpc_port}") as channel,
    ):
        process.ready()
        asking: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=type(request).SerializeToString,
            response_deserializer=bytes,
        )
        _, call = asking.with_call(request, metadata=metadata, timeout=20, wait_for_ready=True)
        until(lambda: len(spans_of(sent)) == 3)
        labels = 'endpoint="thyroid.prod",version="thyroid:1",role="live",code="200",protocol="grpc"'
        assert numbers(process)[f"lockgate_requests_total{{{labels}}}"] == 1
    server = next(span for span in spans_of(sent) if span.name == "inference.GRPCInferenceService/ModelInfer")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)
    assert dict(call.initial_metadata())["traceparent"] == f"00-{TRACE}-{server.span_id.hex()}-01"
    found = attributes(server)
    assert (found["rpc.system"], found["rpc.method"]) == ("grpc", "ModelInfer")
    assert (found["ml.deployment.name"], found["ml.batch.requests"]) == ("thyroid.prod", 1)


def test_the_gateways_own_coin_begins_traces_and_a_receiver_that_fails_costs_only_spans(
    tmp_path: Path, control: ControlPlane
) -> None:
    with (
        receiver(status=400) as (url, _),
        gateway(
            tmp_path,
            control.url,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url,
            LOCKGATE_TRACES_SAMPLE="1",
            LOCKGATE_TRACES_PER_SECOND="20",
        ) as process,
    ):
        process.ready()
        with process.client() as client:
            answers = [client.post(INFER, json=ROW) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {200}
        traced = [answer.headers["traceparent"] for answer in answers if "traceparent" in answer.headers]
        assert len({header.split("-")[1] for header in traced}) == len(traced)
        assert 20 <= len(traced) < 60
        until(lambda: numbers(process)["lockgate_spans_dropped_total"] == 3 * len(traced))
        found = numbers(process)
        assert (found["lockgate_traces_total"], found["lockgate_traces_capped_total"]) == (
            len(traced),
            60 - len(traced),
        )
        assert "spans cannot be exported" in process.stderr_path.read_text()
        assert process.stop() == 0
