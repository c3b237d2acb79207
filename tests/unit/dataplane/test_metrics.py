from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.metrics import ALIVE_SECONDS, SHOWN_GONE, SHOWN_SECONDS, Metrics
from lockgate.dataplane.refusal import overloaded, too_late
from lockgate.dataplane.telemetry.distribution import SCHEMA, SECONDS, SIZES, ZERO, Distribution
from lockgate.dataplane.telemetry.exposition import OPEN_METRICS, PROTOBUF, TEXT, chosen, exposed
from lockgate.dataplane.telemetry.snapshot import Family, Kept, Snapshot, decoded, encoded, together
from tests.serving import keep_classifier

#: The part of Prometheus' own definition that says how a scrape is written.
PROTO = """
syntax = "proto2";
package io.prometheus.client;
message LabelPair { optional string name = 1; optional string value = 2; }
enum MetricType { COUNTER = 0; GAUGE = 1; SUMMARY = 2; UNTYPED = 3; HISTOGRAM = 4; }
message Gauge { optional double value = 1; }
message Counter { optional double value = 1; }
message Bucket { optional uint64 cumulative_count = 1; optional double upper_bound = 2; }
message BucketSpan { optional sint32 offset = 1; optional uint32 length = 2; }
message Histogram {
  optional uint64 sample_count = 1;
  optional double sample_sum = 2;
  repeated Bucket bucket = 3;
  optional sint32 schema = 5;
  optional double zero_threshold = 6;
  optional uint64 zero_count = 7;
  repeated BucketSpan positive_span = 12;
  repeated sint64 positive_delta = 13;
}
message Metric {
  repeated LabelPair label = 1;
  optional Gauge gauge = 2;
  optional Counter counter = 3;
  optional Histogram histogram = 7;
}
message MetricFamily {
  optional string name = 1;
  optional string help = 2;
  optional MetricType type = 3;
  repeated Metric metric = 4;
  optional string unit = 5;
}
"""


@pytest.fixture(scope="module")
def family_type(tmp_path_factory: pytest.TempPathFactory) -> type[Any]:
    """MetricFamily, made by the real compiler."""
    folder = tmp_path_factory.mktemp("proto")
    (folder / "metrics.proto").write_text(PROTO)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-o{folder}/set", "metrics.proto"]
    subprocess.run(command, check=True)
    [file] = descriptor_pb2.FileDescriptorSet.FromString((folder / "set").read_bytes()).file
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.MetricFamily"))


def families_in(data: bytes, family_type: type[Any]) -> Iterator[Any]:
    at = 0
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield family_type.FromString(data[at : at + length])
        at += length


def observed(values: list[float], bounds: tuple[float, ...] = SECONDS) -> Distribution:
    found = Distribution.empty(bounds)
    found.observe(np.array(values))
    return found


positive = st.floats(0, 1e4, allow_nan=False)


@given(st.lists(positive, min_size=1, max_size=50), st.lists(positive, max_size=50))
def test_every_value_is_in_its_buckets_and_two_counts_add_up(values: list[float], more: list[float]) -> None:
    found = observed(values)
    for at, bound in enumerate(SECONDS):
        assert sum(found.buckets[: at + 1]) == sum(value <= bound for value in values)
    for at, count in found.native.items():
        low, high = 2 ** ((at - 1) / 2**SCHEMA), 2 ** (at / 2**SCHEMA)
        # The logarithm of a bound may be off by its last bit.
        near = [value for value in values if low * (1 - 1e-12) < value <= high * (1 + 1e-12) and value > ZERO]
        assert count <= len(near)
    assert sum(found.native.values()) + found.zeros == found.count == len(values)
    both, at_once = found.plus(observed(more)), observed(values + more)
    assert (both.buckets, both.native, both.zeros) == (at_once.buckets, at_once.native, at_once.zeros)
    assert both.sum == pytest.approx(at_once.sum)


def test_a_protobuf_scrape_is_what_prometheus_reads_with_native_buckets(family_type: type[Any]) -> None:
    values = [0.0, 0.001, 0.0011, 0.25, 0.25, 40.0]
    kept = [
        Kept(Family("asked_total", "counter", "Asked.", ("who",)), {('a"b',): 3}),
        Kept(Family("open", "gauge", "Open."), {(): 2.5}),
        Kept(Family("took_seconds", "histogram", "Took.", ("who",), "seconds"), {("a",): observed(values)}),
        Kept(Family("none_seconds", "histogram", "None yet.", (), "seconds"), {(): observed([])}),
    ]
    asked, opened, took, none = families_in(exposed(kept, PROTOBUF), family_type)
    assert (asked.name, asked.help, asked.type, asked.metric[0].counter.value) == ("asked_total", "Asked.", 0, 3)
    assert [(pair.name, pair.value) for pair in asked.metric[0].label] == [("who", 'a"b')]
    assert (opened.type, opened.metric[0].gauge.value) == (1, 2.5)
    histogram = took.metric[0].histogram
    assert (took.unit, histogram.sample_count, histogram.sample_sum) == ("seconds", 6, pytest.approx(sum(values)))
    assert [bucket.upper_bound for bucket in histogram.bucket] == list(SECONDS)
    assert histogram.bucket[-1].cumulative_count == 5
    assert (histogram.schema, histogram.zero_count) == (SCHEMA, 1)
    counts, at, running = dict[int, int](), 0, 0
    deltas = iter(histogram.positive_delta)
    for span in histogram.positive_span:
        at += span.offset
        for _ in range(span.length):
            running += next(deltas)
            counts[at] = running
            at += 1
    assert counts == observed(values).native
    # Bucket i ends at 2 ** (i / 8): 0.25 is a bound itself.
    assert counts[-16] == 2
    assert [(span.offset, span.length) for span in none.metric[0].histogram.positive_span] == [(0, 0)]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("application/json", TEXT),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75", OPEN_METRICS),
        ("application/openmetrics-text;q=0.2, text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4",
            PROTOBUF,
        ),
        ("application/vnd.google.protobuf;encoding=text,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=much,,;;,text/plain;q=0.1", TEXT),
    ],
)
def test_a_scraper_gets_the_form_it_likes_best(accept: str, form: str) -> None:
    assert chosen(accept) == form


def test_labels_and_help_are_escaped_as_each_form_wants_it() -> None:
    kept = [Kept(Family("a_total", "counter", 'back\\slash "quoted"\nline', ("who",)), {('x"\\\n',): 1})]
    sample = 'a_total{who="x\\"\\\\\\n"} 1'
    assert exposed(kept, TEXT).decode().splitlines() == [
        '# HELP a_total back\\\\slash "quoted"\\nline',
        "# TYPE a_total counter",
        sample,
    ]
    assert exposed(kept, OPEN_METRICS).decode().splitlines() == [
        '# HELP a back\\\\slash \\"quoted\\"\\nline',
        "# TYPE a counter",
        sample,
        "# EOF",
    ]


def test_numbers_cut_by_other_labels_or_bounds_do_not_spoil_ours() -> None:
    def snapshot(labels: tuple[str, ...], bounds: tuple[float, ...]) -> Snapshot:
        counted = Kept(Family("a_total", "counter", "", labels), {tuple("x" for _ in labels): 1})
        return Snapshot(0.0, [counted, Kept(Family("b", "histogram", ""), {(): observed([1.0], bounds)})])

    found = together([snapshot(("one",), SIZES), decoded(encoded(snapshot(("one", "two"), SECONDS)))])
    assert found[0].series == {("x",): 1}
    assert found[1].series == {(): observed([1.0], SIZES)}


# --- several workers, and what is left of them


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


class Worker:
    """A worker's counting and metrics, with a clock of its own."""

    def __init__(self, home: Path, name: str, lane: Lane, at: float = 1000.0) -> None:
        self.now = at
        self.lane = lane
        self.counting = Counting(lambda: self.now)
        self.metrics = Metrics(self.counting, home / name, "1.0", lambda: self.now)
        self.metrics.gauges.append(("inflight", "gauge", "Under way.", lambda: 1))

    def answer(self, times: int, version: str = "thyroid:1") -> None:
        tally = self.counting.tally("thyroid.prod", version, "live", self.lane)
        for _ in range(times):
            tally.succeeded["oip"] += 1
            tally.latencies.append(0.002)
            tally.calls += 1, 1, 0.001, 0.001

    def scrape(self) -> dict[str, float]:
        text = self.metrics.scrape("")[1].decode()
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        }


ANSWERED = 'lockgate_requests_total{endpoint="thyroid.prod",version="thyroid:1",role="live",code="200",protocol="oip"}'
TOOK = 'lockgate_request_duration_seconds_count{endpoint="thyroid.prod",version="thyroid:1",role="live"}'
WAITED = 'lockgate_phase_duration_seconds_count{endpoint="thyroid.prod",version="thyroid:1",role="live",phase="wait"}'


def test_whoever_is_scraped_tells_of_all_and_no_counter_falls_when_a_worker_dies(tmp_path: Path, forest: Lane) -> None:
    first, second = Worker(tmp_path, "0", forest), Worker(tmp_path, "1", forest)
    first.answer(3)
    second.answer(4)
    second.metrics.refused(overloaded("much"))
    assert second.scrape()[ANSWERED] == 4
    seen = first.scrape()
    assert (seen[ANSWERED], seen[TOOK], seen[WAITED]) == (7, 7, 7)
    assert seen['lockgate_shed_total{reason="overloaded"}'] == 1
    assert (seen['inflight{worker="0"}'], seen['inflight{worker="1"}']) == (1, 1)
    # Killed: nothing was written since it was scraped, and what was counted since nobody saw.
    second.answer(2)
    again = Worker(tmp_path, "1", forest)
    assert first.scrape()[ANSWERED] == again.scrape()[ANSWERED] == 7
    again.answer(1)
    again.metrics.refused(too_late())
    seen = again.scrape()
    assert (seen[ANSWERED], seen[TOOK]) == (8, 8)
    assert (seen['lockgate_shed_total{reason="overloaded"}'], seen["lockgate_deadline_exceeded_total"]) == (1, 1)


def test_a_worker_that_is_gone_counts_on_without_its_gauges(tmp_path: Path, forest: Lane) -> None:
    first, second, third = (Worker(tmp_path, name, forest) for name in "012")
    for worker in (second, third):
        worker.answer(5)
        worker.scrape()
    third.metrics.close()
    seen = first.scrape()
    assert seen[ANSWERED] == 10
    assert ('inflight{worker="1"}' in seen, 'inflight{worker="2"}' in seen) == (True, False)
    first.now += ALIVE_SECONDS + 1
    seen = first.scrape()
    assert seen[ANSWERED] == 10
    assert 'inflight{worker="1"}' not in seen


def test_a_version_nobody_asks_for_any_more_is_forgotten_by_all_at_once(tmp_path: Path, forest: Lane) -> None:
    first, second = Worker(tmp_path, "0", forest), Worker(tmp_path, "1", forest)
    first.answer(1)
    first.scrape()
    second.now += SHOWN_SECONDS / 2
    second.answer(1)
    second.scrape()
    first.now = second.now = first.now + SHOWN_SECONDS + 1
    assert first.scrape()[ANSWERED] == 2, "somebody asked another worker for it"
    first.now = second.now = 1000.0 + 1.6 * SHOWN_SECONDS
    assert ANSWERED not in first.scrape()
    first.metrics.routed = lambda: {("thyroid.prod", "thyroid:1")}
    assert first.scrape()[ANSWERED] == 2, "it is in the routes"
    first.metrics.routed = set
    first.now = second.now = 1000.0 + 3 * SHOWN_SECONDS
    first.scrape()
    second.scrape()
    assert first.counting.totals.used() == {}
    assert ANSWERED not in Worker(tmp_path, "0", forest, first.now).scrape()


def test_of_versions_that_came_and_went_only_the_newest_are_kept(tmp_path: Path, forest: Lane) -> None:
    worker = Worker(tmp_path, "0", forest)
    worker.metrics.routed = lambda: {("thyroid.prod", "thyroid:1")}
    for number in range(1, 3 * SHOWN_GONE + 1):
        worker.answer(1, f"thyroid:{number}")
        worker.counting.fold()
        worker.now += 1
    seen = worker.scrape()
    shown = [number for number in range(1, 3 * SHOWN_GONE + 1) if ANSWERED.replace("id:1", f"id:{number}") in seen]
    assert shown == [1, *range(2 * SHOWN_GONE + 1, 3 * SHOWN_GONE + 1)], "the routed one and the newest"
    assert len(worker.counting.totals.used()) == 1 + 2 * SHOWN_GONE


def test_a_file_that_is_no_snapshot_is_left_out(tmp_path: Path, forest: Lane) -> None:
    Worker(tmp_path, "1", forest).scrape()
    (tmp_path / "1" / "metrics").write_bytes(b"torn")
    first = Worker(tmp_path, "0", forest)
    first.answer(1)
    assert first.scrape()[ANSWERED] == 1
    assert Worker(tmp_path, "1", forest).scrape()[ANSWERED] == 1
