"""Whoever listens is told of requests and answers as KServe's payload logger tells it; whoever does not is no harm."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane import oip
from lockgate.dataplane.batching import Ask, joined
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.events import sink as sinks
from lockgate.dataplane.events.settings import EventSettings, read_events
from lockgate.dataplane.events.sink import EventSink
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.routing import LiveTarget
from lockgate.domain.monitoring.sampling import in_sample
from tests.serving import MIXED_COLUMNS, control_plane, gateway, keep_regression, mixed, route, served_as, table, target
from tests.serving import free_port as a_free_port

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
NOON_US = 1_777_636_800_000_000


class Listener:
    """A system that takes events over HTTP."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], Any]] = []
        #: Statuses to answer with first; 200 when there are no more.
        self.answers: list[int] = []
        self.connections: set[tuple[str, int]] = set()
        self.posts = 0
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with lock:
                    outer.posts += 1
                    outer.connections.add(self.client_address)
                    status = outer.answers.pop(0) if outer.answers else 200
                    if status == 200:
                        headers = {name.lower(): value for name, value in self.headers.items()}
                        outer.heard.append((headers, json.loads(body)))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/events?to=lake"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def a_package(blobs: DirectoryBlobs) -> str:
    """A dose by age, weight and sex, of which age is personal."""
    columns = tuple(replace(column, personal=column.name == "age") for column in MIXED_COLUMNS)
    return keep_regression(blobs, mixed(), columns)


@pytest.fixture(scope="module")
def dose(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("dose"))
    return load(a_package(blobs), blobs)


def asks(lane: Lane, sizes: list[int], role: str = "live") -> list[Ask]:
    live = LiveTarget("dose.prod", "prod", 5, target("sha256:" + "0" * 64, 3, model="dose"), lane)
    tally = Counting(lambda: 0.0).tally("dose.prod", "dose:3", role, lane)
    return [
        Ask(None, live, tally, role, f"01kq{place:022d}", rows_of(size), oip.write) for place, size in enumerate(sizes)
    ]


def rows_of(size: int) -> Inputs:
    weights = np.array([[70.5], [np.nan], [80.0]])[:size]
    return (np.full((size, 1), 61), weights, np.array([["F"]] * size, np.object_))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[EventSettings], PredictionLog]]:
    """A log that tells a sink."""
    logs: list[PredictionLog] = []

    def make(settings: EventSettings) -> PredictionLog:
        log = PredictionLog(SegmentWriter(tmp_path / "0-a"), EventSink(settings))
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.writer.close()
        assert log.sink is not None
        log.sink.close(0.0)


def answer(log: PredictionLog, several: list[Ask]) -> None:
    """Have some requests answered and written down."""
    inputs = joined(several)
    log.append_batch(several, inputs, several[0].target.lane.predict(inputs), NOON_US)


def drained(log: PredictionLog) -> EventSink:
    assert log.sink is not None
    log.sink.close(5.0)
    return log.sink


def test_a_request_and_its_answer_are_told_as_kserve_tells_them(
    dose: Lane, listener: Listener, start: Callable[[EventSettings], PredictionLog]
) -> None:
    log = start(EventSettings(url=listener.url))
    answer(log, asks(dose, [1, 2]))
    assert drained(log).sent == 4
    by_id = {(headers["ce-id"], headers["ce-type"]): (headers, body) for headers, body in listener.heard}
    assert len(by_id) == 4
    headers, body = by_id["01kq" + "0" * 21 + "1", REQUEST]
    assert {name: value for name, value in headers.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-id": "01kq" + "0" * 21 + "1",
        "ce-type": REQUEST,
        "ce-source": "urn:lockgate:dose.prod",
        "ce-time": "2026-05-01T12:00:00Z",
        "ce-inferenceservicename": "dose",
        "ce-namespace": "prod",
        "ce-component": "predictor",
        "ce-endpoint": "dose.prod",
        "ce-lockgateversion": "dose:3",
        "ce-lockgategeneration": "5",
        "ce-lockgaterole": "live",
    }
    assert headers["content-type"] == "application/json"
    # Age is personal.
    assert body == {
        "id": "01kq" + "0" * 21 + "1",
        "parameters": {"withheld": "age"},
        "inputs": [
            {"name": "weight", "shape": [2], "datatype": "FP64", "data": [70.5, None]},
            {"name": "sex", "shape": [2], "datatype": "BYTES", "data": ["F", "F"]},
        ],
    }
    headers, body = by_id["01kq" + "0" * 22, RESPONSE]
    assert body == {
        "model_name": "dose.prod",
        "model_version": "3",
        "id": "01kq" + "0" * 22,
        "parameters": {"prediction_id": "01kq" + "0" * 22, "generation": 5},
        "outputs": [{"name": "prediction", "shape": [1], "datatype": "FP64", "data": [231.5]}],
    }


def test_an_event_can_be_one_object(
    dose: Lane, listener: Listener, start: Callable[[EventSettings], PredictionLog]
) -> None:
    log = start(EventSettings(url=listener.url, requests=False, structured=True))
    answer(log, asks(dose, [1]))
    drained(log)
    [(headers, body)] = listener.heard
    assert headers["content-type"] == "application/cloudevents+json"
    assert (body["type"], body["specversion"], body["lockgategeneration"]) == (RESPONSE, "1.0", 5)
    assert body["data"]["outputs"][0]["data"] == [231.5]


def test_only_what_is_in_the_sample_is_told_and_never_a_shadows_answer(
    dose: Lane, listener: Listener, start: Callable[[EventSettings], PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = start(EventSettings(url=listener.url, responses=False))
    serving = replace(dose.manifest.serving, sample=0.5)
    monkeypatch.setattr(dose, "manifest", replace(dose.manifest, serving=serving))
    several = asks(dose, [1] * 20)
    answer(log, several)
    answer(log, asks(dose, [1] * 20, role="shadow"))
    drained(log)
    told = sorted(headers["ce-id"] for headers, _ in listener.heard)
    assert told == [ask.prediction_id for ask in several if in_sample(ask.prediction_id, 0.5)]


def test_connections_are_kept_and_what_was_not_taken_is_sent_again(
    dose: Lane, listener: Listener, start: Callable[[EventSettings], PredictionLog]
) -> None:
    listener.answers = [500, 429, 503]
    log = start(EventSettings(url=listener.url))
    for _ in range(20):
        answer(log, asks(dose, [1] * 5))
    assert drained(log).sent == len(listener.heard) == 200
    assert listener.posts == 203
    assert len(listener.connections) <= 4


def test_what_will_never_be_taken_is_dropped_and_holds_up_nothing(
    dose: Lane, listener: Listener, start: Callable[[EventSettings], PredictionLog]
) -> None:
    listener.answers = [400]
    log = start(EventSettings(url=listener.url))
    answer(log, asks(dose, [1] * 3))
    sink = drained(log)
    assert (sink.sent, sink.dropped, listener.posts) == (5, 1, 6)


def test_a_listener_that_is_dead_or_says_nothing_costs_no_prediction_anything(
    dose: Lane, start: Callable[[EventSettings], PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "MOST_WAITING", 200_000)
    log = start(EventSettings(url=f"http://127.0.0.1:{a_free_port()}/"))
    sink = log.sink
    assert sink is not None
    several = asks(dose, [1] * 10)
    inputs = joined(several)
    whole = dose.predict(inputs)
    slowest = 0.0
    for _ in range(200):
        began = time.perf_counter()
        log.append_batch(several, inputs, whole, NOON_US)
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.1
    # Bounded: what did not fit was dropped at once, and counted.
    assert sink.waiting <= 200_000
    assert 0 < sink.dropped < 4000
    began = time.monotonic()
    sink.close(0.3)
    assert time.monotonic() - began < 2.0
    assert sink.sent == 0
    assert sink.dropped == 4000


def test_a_worker_that_stops_sends_what_waits(tmp_path: Path, listener: Listener) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    package = served_as(blobs, a_package(blobs), sample=1.0)
    row = [
        {"name": "age", "shape": [1], "datatype": "INT64", "data": [61]},
        {"name": "weight", "shape": [1], "datatype": "FP64", "data": [70]},
        {"name": "sex", "shape": [1], "datatype": "BYTES", "data": ["F"]},
    ]
    with control_plane() as control:
        control.publish(table(7, route("dose.prod", target(package, 1, model="dose"))))
        with gateway(tmp_path, control.url, LOCKGATE_EVENTS_URL=listener.url) as process:
            with process.ready().client() as client:
                ids = [
                    client.post("/v2/models/dose.prod/infer", json={"inputs": row}).json()["parameters"][
                        "prediction_id"
                    ]
                    for _ in range(20)
                ]
                assert "lockgate_events_dropped_total 0" in client.get("/metrics").text
            process.stop()
    for kind in (REQUEST, RESPONSE):
        assert sorted(headers["ce-id"] for headers, _ in listener.heard if headers["ce-type"] == kind) == sorted(ids)


def test_settings_are_read_and_what_is_wrong_with_them_is_said() -> None:
    problems: list[str] = []
    assert read_events({}, problems) is None
    url = "https://lake.example:8443/in"
    found = read_events({"LOCKGATE_EVENTS_URL": url, "LOCKGATE_EVENTS_MODE": "response"}, problems)
    assert found == EventSettings(url=url, requests=False)
    structured = read_events({"LOCKGATE_EVENTS_URL": url, "LOCKGATE_EVENTS_FORMAT": "structured"}, problems)
    assert structured == EventSettings(url=url, structured=True)
    assert problems == []
    for wrong in ("ftp://x", "http://", "http://user:pass@x/", "http://x:99999/", "http://[x"):
        read_events({"LOCKGATE_EVENTS_URL": wrong}, problems)
        assert "LOCKGATE_EVENTS_URL" in problems.pop()
    read_events({"LOCKGATE_EVENTS_MODE": "some", "LOCKGATE_EVENTS_FORMAT": "xml"}, problems)
    assert len(problems) == 2
