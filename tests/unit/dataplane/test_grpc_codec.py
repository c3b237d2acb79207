"""gRPC's messages: what is read is what JSON would have given, what is written is what protobuf would have written."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from copy import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane import oip, rawtensors
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.counting import Tally
from lockgate.dataplane.exchange import Head
from lockgate.dataplane.grpc import infer
from lockgate.dataplane.grpc.answers import Written, write
from lockgate.dataplane.grpc.calls import Call, Methods
from lockgate.dataplane.grpc.exchange import GrpcExchange
from lockgate.dataplane.grpc.schema import FILES, message
from lockgate.dataplane.grpc.wire import field, packed, refusal_fields, timeout_of, unpacked, varint
from lockgate.dataplane.http2.stream import Stream
from lockgate.dataplane.lane import Answer, Lane, Served
from lockgate.dataplane.loading import load
from lockgate.dataplane.refusal import Refused, unavailable
from lockgate.dataplane.routing import LiveTarget
from lockgate.domain.registry.manifest import Output
from tests.h2 import headers
from tests.serving import MIXED_COLUMNS, keep_classifier, keep_regression, mixed, target
from tests.unit.dataplane.test_codecs import read as read_json

Request, Response = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")


class Nobody:
    """Takes answers that nobody waits for."""

    def answer(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None:
        return

    def send(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None:
        return


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> LiveTarget:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return live(load(keep_classifier(blobs), blobs))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> LiveTarget:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("people"))
    return live(load(keep_regression(blobs, mixed(), MIXED_COLUMNS), blobs))


def live(lane: Lane) -> LiveTarget:
    """A version on an endpoint."""
    return LiveTarget("thyroid.prod", "prod", 300, target("x", 7), lane)


def exchange_of(request: Any) -> GrpcExchange:
    call = Call(dict(headers()), Methods(unary={}, streaming={}))
    made = GrpcExchange(Stream(Nobody(), 1, call, 0, 0.0), Head("POST", b"/", {}, 0), None)
    made.body = request if isinstance(request, bytes) else request.SerializeToString()
    return made


def read(target: LiveTarget, request: Any) -> tuple[Any, ...]:
    return infer.read(exchange_of(request), target)


def refusal(target: LiveTarget, request: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(target, request)
    assert caught.value.status == 400
    return caught.value.message


FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def add(request: Any, name: str, values: list[Any], datatype: str, shape: list[int], *, raw: bool) -> None:
    given = request.inputs.add(name=name, datatype=datatype, shape=shape)
    if raw:
        request.raw_input_contents.append(rawtensors.encode(values, datatype))
    else:
        plain = [value.encode() for value in values] if datatype == "BYTES" else values
        getattr(given.contents, FIELDS[datatype]).extend(plain)


@given(
    rows=st.integers(1, 40),
    seed=st.integers(0, 1000),
    datatype=st.sampled_from(["FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "UINT64"]),
    raw=st.booleans(),
)
def test_a_block_means_what_it_means_as_json(
    forest: LiveTarget, rows: int, seed: int, datatype: str, raw: bool
) -> None:
    chance = np.random.default_rng(seed)
    whole = "INT" in datatype
    values = chance.integers(0, 100, (rows, 4)) if whole else chance.random((rows, 4)).astype(np.float16)
    request = Request(model_name="x")
    add(request, "input", values.ravel().tolist(), datatype, [rows, 4], raw=raw or datatype == "FP16")
    found = read(forest, request)
    data = values.astype(float).tolist() if not whole else values.tolist()
    described = {"name": "input", "shape": [rows, 4], "datatype": datatype, "data": data}
    expected = read_json(forest.lane, {"inputs": [described]})
    assert found[0].dtype == expected[0].dtype
    assert np.array_equal(found[0], expected[0])


@given(
    ages=st.lists(st.integers(0, 99), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    raw=st.booleans(),
    wide=st.booleans(),
)
def test_columns_of_several_kinds_mean_what_they_mean_as_json(
    people: LiveTarget, ages: list[int], seed: int, raw: bool, wide: bool
) -> None:
    rows = len(ages)
    shape = [rows, 1] if wide else [rows]
    weights = np.random.default_rng(seed).random(rows).tolist()
    sexes = ["F", "M", "ü", "", "F"][:rows]
    request = Request(model_name="x")
    add(request, "age", ages, "INT64", shape, raw=raw)
    add(request, "weight", weights, "FP64", shape, raw=raw)
    add(request, "sex", sexes, "BYTES", shape, raw=raw)
    columns = [("age", "INT64", ages), ("weight", "FP64", weights), ("sex", "BYTES", sexes)]
    inputs = [{"name": name, "shape": shape, "datatype": kind, "data": data} for name, kind, data in columns]
    expected = read_json(people.lane, {"inputs": inputs})
    for found, wanted in zip(read(people, request), expected, strict=True):
        assert (found.dtype, found.tolist()) == (wanted.dtype, wanted.tolist())


@given(rows=st.integers(1, 5), raw=st.booleans(), datatype=st.sampled_from(["FP32", "FP64"]), seed=st.integers(0, 99))
def test_a_request_known_by_its_beginning_means_what_it_means_when_it_is_read(
    forest: LiveTarget, rows: int, raw: bool, datatype: str, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    requests: list[Any] = []
    for _ in range(2):
        request = Request(model_name="x", model_version="3")
        add(request, "input", chance.random(rows * 4).tolist(), datatype, [rows, 4], raw=raw)
        requests.append(request)
    first, second = exchange_of(requests[0]), exchange_of(requests[1])
    infer.read(first, forest)
    pattern = first.learnt
    assert pattern.fits(second.body)
    assert (pattern.model, pattern.version) == ("x", "3")
    expected = read(forest, requests[1])
    second.pattern = pattern
    assert np.array_equal(infer.read(second, forest)[0], expected[0])
    assert (second.request, second.raw) == (None, raw)
    for other in (second.body + b"\0", second.body[:-1], b"\x0a\x01y" + second.body[3:]):
        assert not pattern.fits(other)


def test_a_beginning_is_learnt_anew_for_every_model_that_gets_it(forest: LiveTarget, people: LiveTarget) -> None:
    request = Request(model_name="x")
    add(request, "input", [0.5] * 4, "FP32", [1, 4], raw=True)
    first = exchange_of(request)
    infer.read(first, forest)
    pattern = first.learnt
    stranger = exchange_of(request)
    stranger.pattern = pattern
    with pytest.raises(Refused):
        infer.read(stranger, people)
    lane = copy(forest.lane)
    lane.intake = copy(lane.intake)
    twin = live(lane)
    for known in (False, True):
        again = exchange_of(request)
        again.pattern = pattern
        infer.read(again, twin)
        assert (again.learnt is None) == known
        if again.learnt is not None:
            assert pattern.learn(again.learnt) is pattern
    assert pattern.inputs(first.body, forest.lane.intake) is not None


def test_a_request_is_not_known_by_its_beginning_where_its_end_is_something_else(forest: LiveTarget) -> None:
    plain = Request(model_name="x")
    add(plain, "input", [0.0] * 4, "FP32", [1, 4], raw=False)
    with_id, wanting, urgent = Request(), Request(), Request()
    for made in (with_id, wanting, urgent):
        made.CopyFrom(plain)
    with_id.id = "42"
    wanting.outputs.add(name="label")
    urgent.parameters["priority"].uint64_param = 1
    for made in (with_id, wanting, urgent):
        exchange = exchange_of(made)
        infer.read(exchange, forest)
        assert exchange.learnt is None
    # Fields may come in any order: here the model's name follows the floats.
    exchange = exchange_of(plain.SerializeToString()[3:] + b"\x0a\x01x")
    infer.read(exchange, forest)
    assert exchange.learnt is None


def test_what_a_signature_does_not_allow_is_refused_as_in_json(forest: LiveTarget, people: LiveTarget) -> None:
    for value, words in ((float("nan"), "no value in row 0"), (float("inf"), "infinity")):
        for raw in (True, False):
            request = Request(model_name="x")
            add(request, "input", [0.0, value, 0.0, 0.0], "FP32", [1, 4], raw=raw)
            assert words in refusal(forest, request)
    request = Request(model_name="x")
    add(request, "input", [1e300] * 4, "FP64", [1, 4], raw=True)
    assert "too large" in refusal(forest, request)
    request = Request(model_name="x")
    request.inputs.add(name="age", datatype="INT8", shape=[1]).contents.int_contents.append(300)
    assert "does not fit INT8" in refusal(people, request)


def test_requests_that_contradict_themselves_are_refused_with_what_and_where(
    forest: LiveTarget, people: LiveTarget
) -> None:
    request = Request(model_name="x")
    assert "no inputs" in refusal(forest, request)
    add(request, "input", [0.0] * 4, "FP32", [1, 4], raw=True)
    request.inputs[0].contents.fp32_contents.append(1.0)
    assert "raw contents and typed contents" in refusal(forest, request)
    request.inputs.add(name="more")
    assert "2 inputs and 1 raw contents" in refusal(forest, request)

    for shape, words in (([2, 4], "32"), ([], "shape"), ([-1, 4], "shape"), ([1 << 40, 4], "too large")):
        request = Request(model_name="x")
        add(request, "input", [0.0] * 4, "FP32", shape, raw=True)
        assert words in refusal(forest, request)
    request = Request(model_name="x")
    add(request, "input", [0.0] * 3, "FP32", [1, 4], raw=False)
    assert "3 values in fp32_contents" in refusal(forest, request)
    for datatype, raw in (("FP16", False), ("BF16", True), ("BF16", False), ("", True)):
        request = Request(model_name="x")
        request.inputs.add(name="input", datatype=datatype, shape=[1, 4])
        if raw:
            request.raw_input_contents.append(b"12345678")
        assert "has the datatype" in refusal(forest, request)
    for text in (b"\xff\xfe", b"\x05\0\0\0ab", b"\1\0\0\0ab", b"\1\0\0"):
        request = Request(model_name="x")
        request.inputs.add(name="sex", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(text)
        refusal(people, request)
    request = Request(model_name="x")
    request.inputs.add(name="sex", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"\xff")
    assert "UTF-8" in refusal(people, request)
    request = Request(model_name="x")
    add(request, "input", [0.0] * 4, "FP32", [1, 4], raw=False)
    request.outputs.add(name="nothing")
    assert "no output 'nothing'" in refusal(forest, request)


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_refusal(forest: LiveTarget, noise: bytes) -> None:
    whole = Request(model_name="x")
    add(whole, "input", [0.5] * 4, "FP32", [1, 4], raw=False)
    for data in (noise, whole.SerializeToString() + noise, noise + whole.SerializeToString()):
        with suppress(Refused):
            read(forest, data)


def test_contents_in_pieces_and_unpacked_are_read_as_protobuf_reads_them(forest: LiveTarget) -> None:
    floats = np.array([0.1, 0.2, 0.3, 0.4], "<f4")
    unpacked_floats = b"".join(b"\x35" + value.tobytes() for value in floats)
    pieces = field(5, field(6, floats[:2].tobytes())) + field(5, field(6, floats[2:].tobytes()))
    for contents in (field(5, unpacked_floats), pieces):
        given = field(1, b"input") + field(2, b"FP32") + field(3, b"\x01\x04") + contents
        [found] = read(forest, field(1, b"x") + field(5, given))
        assert found.tolist() == [floats.tolist()]


def answered(target: LiveTarget, answer: Answer, request: Any) -> Any:
    """The answer as a client reads it."""
    exchange = exchange_of(request)
    inputs = infer.read(exchange, target)
    tally = Tally("thyroid.prod", target.version, "live", target.lane)
    body = write(Ask(exchange, target, tally, "live", "a" * 26, inputs, write), answer)
    assert exchange.stamp.endswith(b"x-lockgate-prediction-id\x1a" + b"a" * 26)
    return Response.FromString(unpacked(body, 0, 1 << 20))


@given(rows=st.integers(1, 5), raw=st.booleans(), some=st.booleans(), id=st.sampled_from(["", "42", "ü" * 100]))
def test_an_answer_is_what_protobuf_would_have_written(
    forest: LiveTarget, rows: int, raw: bool, some: bool, id: str
) -> None:
    request = Request(model_name="x", id=id)
    add(request, "input", [0.5] * 4 * rows, "FP32", [rows, 4], raw=raw)
    if some:
        request.outputs.add(name="probabilities")
    answer = Answer(np.random.default_rng(rows).random((rows, 2)).astype(np.float32), ["sick", "well"] * 2 + ["ü"])
    answer = answer.cut(0, rows)
    expected = Response(model_name="thyroid.prod", model_version="7", id=id)
    expected.parameters["prediction_id"].string_param = "a" * 26
    expected.parameters["generation"].int64_param = 300
    if not some:
        label = expected.outputs.add(name="label", datatype="BYTES", shape=[rows])
        if raw:
            expected.raw_output_contents.append(rawtensors.encode(answer.labels or [], "BYTES"))
        else:
            label.contents.bytes_contents.extend([text.encode() for text in answer.labels or []])
    scores = expected.outputs.add(name="probabilities", datatype="FP32", shape=[rows, 2])
    if raw:
        expected.raw_output_contents.append(answer.scores.tobytes())
    else:
        scores.contents.fp32_contents.extend(answer.scores.ravel().tolist())
    assert answered(forest, answer, request) == expected


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT32", "INT64", "UINT8", "BOOL", "BYTES"])
@pytest.mark.parametrize("raw", [True, False])
def test_outputs_of_every_datatype_are_written_so_that_clients_read_them(datatype: str, raw: bool) -> None:
    output = Output(name="out", datatype=datatype, shape=(2,))
    values: Any = np.array([["a", "b"]], dtype=object) if datatype == "BYTES" else np.array([[0, 1]])
    written = Written(Served.of(output, "other"))
    described, contents = written.write(Answer(np.empty((1, 0)), None, {"out": values}), raw=raw or datatype == "FP16")
    found = Response.FromString(described + contents)
    assert list(found.outputs[0].shape) == [1, 2]
    if raw or datatype == "FP16":
        data = rawtensors.decode(datatype, found.raw_output_contents[0], 2, "out")
        assert list(data) == values.ravel().tolist()
    else:
        data = list(getattr(found.outputs[0].contents, FIELDS[datatype]))
        assert data == ([b"a", b"b"] if datatype == "BYTES" else [0, 1])


def test_a_caller_may_ask_for_raw_or_typed_outputs(forest: LiveTarget) -> None:
    answer = Answer(np.ones((1, 2), np.float32), ["sick"])
    for raw in (True, False):
        request = Request(model_name="x")
        add(request, "input", [0.5] * 4, "FP32", [1, 4], raw=not raw)
        request.parameters["binary_data_output"].bool_param = raw
        assert len(answered(forest, answer, request).raw_output_contents) == (2 if raw else 0)


def test_a_request_says_by_its_parameters_how_long_it_may_wait_and_how_urgent_it_is(forest: LiveTarget) -> None:
    request = Request(model_name="x")
    add(request, "input", [0.5] * 4, "FP32", [1, 4], raw=True)
    request.parameters["timeout"].int64_param = 2_000_000
    request.parameters["priority"].uint64_param = 1
    exchange = exchange_of(request)
    infer.read(exchange, forest)
    assert (exchange.deadline, exchange.priority.name) == (2.0, "CRITICAL")
    request.parameters["timeout"].string_param = "soon"
    assert "timeout" in refusal(forest, request)


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=300))
def test_fields_are_written_as_protobuf_writes_them(number: int, data: bytes) -> None:
    parameter = message("inference.ModelRepositoryParameter")(bytes_param=data)
    assert field(4, data) == parameter.SerializeToString()
    assert b"\x10" + varint(number) == message("inference.InferParameter")(int64_param=number).SerializeToString()


@pytest.mark.parametrize(
    ("text", "seconds"), [(b"5S", 5.0), (b"250m", 0.25), (b"1H", 3600.0), (b"2M", 120.0), (b"7u", 7e-6), (b"0n", 0.0)]
)
def test_time_outs_are_read(text: bytes, seconds: float) -> None:
    assert timeout_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"S", b"5", b"-1S", b"123456789S", b"5s", b"5S ", b"1.5S"])
def test_what_is_no_time_out_is_refused(text: bytes) -> None:
    with pytest.raises(Refused):
        timeout_of(text)


@given(st.binary(max_size=500))
def test_messages_are_unpacked_compressed_or_not(data: bytes) -> None:
    assert unpacked(packed(data), 0, 1000) == data
    for bits, shrunk in ((31, gzip.compress(data)), (15, zlib.compress(data))):
        body = b"\1" + len(shrunk).to_bytes(4) + shrunk
        assert unpacked(body, bits, 1000) == data
        for broken in (body[:-1], body + b"x", b"\1" + len(shrunk[:-3]).to_bytes(4) + shrunk[:-3], b"\2" + body[1:]):
            with pytest.raises(Refused):
                unpacked(broken, bits, 1000)


def test_a_small_message_that_means_a_huge_one_is_refused_before_it_is_whole() -> None:
    shrunk = gzip.compress(bytes(100 << 20))
    with pytest.raises(Refused) as caught:
        unpacked(b"\1" + len(shrunk).to_bytes(4) + shrunk, 31, 1 << 20)
    assert caught.value.status == 413
    with pytest.raises(Refused) as caught:
        unpacked(b"\0\xff\xff\xff\xff", 0, 1 << 20)
    assert caught.value.status == 413


def test_a_refusal_says_when_to_come_again_and_survives_any_text() -> None:
    fields = dict(refusal_fields(unavailable("50 % of ü\n")))
    assert fields[b"grpc-status"] == b"14"
    assert fields[b"grpc-message"] == b"50 %25 of %C3%BC%0A (try again shortly)"
    assert fields[b"grpc-retry-pushback-ms"] == b"1000"
    assert fields[b"x-lockgate-code"] == b"unavailable"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ([(b"grpc-encoding", b"snappy")], b"12"),
        ([(b"grpc-timeout", b"soon")], b"3"),
        ([], b"12"),
    ],
)
def test_calls_that_cannot_be_answered_are_known_by_their_headers(
    more: list[tuple[bytes, bytes]], status: bytes
) -> None:
    call = Call(dict(headers(b"/no.Such/Method", *more)), Methods(unary={}, streaming={}))
    assert b"grpc-status\x01" + status[:1] in call.refusal or b"grpc-status\x02" + status in call.refusal


def test_the_services_are_those_of_the_protocols() -> None:
    names = {f"{file.package}.{service.name}" for file in FILES for service in file.service}
    assert names == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_raw_tensors_come_back_as_they_went() -> None:
    for datatype in sorted(rawtensors.KNOWN - {"BYTES", "BOOL"}):
        data = rawtensors.encode([0, 1, 100], datatype)
        assert list(rawtensors.decode(datatype, data, 3, "x")) == [0, 1, 100]
        shifted = memoryview(b"x" + data)[1:]
        assert list(rawtensors.decode(datatype, shifted, 3, "x")) == [0, 1, 100]
    assert list(rawtensors.decode("BOOL", b"\0\1", 2, "x")) == [False, True]
    with pytest.raises(Refused):
        rawtensors.decode("BOOL", b"\0\2", 2, "x")
    assert rawtensors.decode("FP64", rawtensors.encode([1.0, float("nan")], "FP64"), 2, "x") == [1.0, None]
    assert rawtensors.decode("BYTES", memoryview(rawtensors.encode(["a", "", "ü"], "BYTES")), 3, "x") == ["a", "", "ü"]
    assert rawtensors.decode("FP32", b"", 0, "x") is not None


def test_the_json_reader_and_this_one_check_tensors_by_the_same_rules() -> None:
    assert infer.inputs_of is oip.inputs_of
