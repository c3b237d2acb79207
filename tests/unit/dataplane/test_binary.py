from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane import binary
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.routing import LiveTarget
from tests.serving import MIXED_COLUMNS, keep_classifier, keep_regression, mixed, target


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("people"))
    return load(keep_regression(blobs, mixed(), MIXED_COLUMNS), blobs)


def texts(*values: str) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def raw(name: str, shape: list[int], datatype: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}}, data


def plain(name: str, shape: list[int], datatype: str, data: Any) -> tuple[dict[str, Any], bytes]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}, b""


def body(*inputs: tuple[dict[str, Any], bytes], **more: Any) -> tuple[bytes, bytes]:
    text = json.dumps({"inputs": [described for described, _ in inputs]} | more).encode()
    return text + b"".join(data for _, data in inputs), b"%d" % len(text)


def refusal(lane: Lane, sent: bytes, header: bytes | None) -> Refused:
    with pytest.raises(Refused) as caught:
        binary.read(sent, header, lane)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_input"
    return caught.value


@given(rows=st.integers(1, 40), datatype=st.sampled_from(["FP16", "FP32", "FP64"]), seed=st.integers(0, 50))
def test_raw_tensors_mean_what_the_same_values_in_json_mean(forest: Lane, rows: int, datatype: str, seed: int) -> None:
    kind = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}[datatype]
    values = np.random.default_rng(seed).random((rows, 4)).astype(kind)
    sent, header = body(raw("input", [rows, 4], datatype, values.tobytes()))
    inputs, _, _ = binary.read(sent, header, forest)
    same, none = body(plain("input", [rows, 4], datatype, values.astype(float).tolist()))
    expected, _, _ = binary.read(same, none, forest)
    assert [array.tobytes() for array in inputs] == [array.tobytes() for array in expected]
    assert [array.tobytes() for array in binary.read(same, None, forest)[0]] == [array.tobytes() for array in expected]


def test_a_large_matrix_is_not_copied_where_its_type_is_the_models(forest: Lane) -> None:
    values = np.random.default_rng(1).random((1000, 4)).astype(np.float32)
    described, data = raw("input", [1000, 4], "FP32", values.tobytes())
    text = json.dumps({"inputs": [described]}).encode()
    # Values that begin at a multiple of their size are used where they lie.
    text += b" " * (-(len(text) + 32) % 8)
    sent = text + data
    inputs, _, _ = binary.read(sent, b"%d" % len(text), forest)
    assert np.array_equal(inputs[0], values)
    if np.frombuffer(sent, np.uint8)[len(text) :].ctypes.data % 4 == 0:
        assert np.shares_memory(inputs[0], np.frombuffer(sent, np.uint8))


def test_json_and_raw_inputs_may_be_mixed_and_texts_have_their_lengths(people: Lane) -> None:
    sent, header = body(
        raw("age", [2], "INT64", np.array([61, 62]).tobytes()),
        plain("weight", [2, 1], "FP64", [[70], [80.5]]),
        raw("sex", [2], "BYTES", texts("F", "")),
    )
    inputs, _, _ = binary.read(sent, header, people)
    assert [array.ravel().tolist() for array in inputs] == [[61, 62], [70.0, 80.5], ["F", ""]]


def test_raw_nan_is_a_missing_value_and_infinity_is_none(forest: Lane) -> None:
    for value, told in ((np.nan, "no value"), (np.inf, "infinity")):
        values = np.array([[1, 2, 3, value]], np.float32)
        sent, header = body(raw("input", [1, 4], "FP32", values.tobytes()))
        assert told in refusal(forest, sent, header).message


@pytest.mark.parametrize("header", [b"", b"-1", b"x", b"1.5", b"9" * 30, "٣".encode()])
def test_a_length_that_is_none_is_refused(forest: Lane, header: bytes) -> None:
    assert "Inference-Header-Content-Length" in refusal(forest, b"{}", header).message


ROW = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32).tobytes()


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([raw("input", [1, 4], "FP32", ROW[:-1])], "15 bytes of FP32"),
        ([raw("input", [2, 4], "FP32", ROW)], "its shape says 32"),
        ([({"name": "input", "shape": [1, 4], "datatype": "FP32"}, b"")], "neither data"),
        ([raw("input", [1, 4], "FP33", ROW)], "datatype"),
        ([raw("input", [1, 4], "BYTES", texts("a"))], "4 texts"),
        ([(raw("input", [1, 4], "FP32", ROW)[0] | {"data": [1, 2, 3, 4]}, ROW)], "both data"),
        ([raw("input", [1, 4], "FP32", ROW), (plain("input", [1, 4], "FP32", [1, 2, 3, 4])[0], b"more")], "add up"),
        ([(raw("input", [1, 4], "FP32", ROW)[0] | {"parameters": {"binary_data_size": -16}}, ROW)], "binary_data_size"),
        (
            [(raw("input", [1, 4], "FP32", ROW)[0] | {"parameters": {"binary_data_size": True}}, ROW)],
            "binary_data_size",
        ),
        (
            [(raw("input", [1, 4], "FP32", ROW)[0] | {"parameters": {"binary_data_size": "16"}}, ROW)],
            "binary_data_size",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused_saying_which(forest: Lane, inputs: list[Any], told: str) -> None:
    sent, header = body(*inputs)
    refused = refusal(forest, sent, header)
    assert told in refused.message + refused.hint


@given(sent=st.binary(max_size=200), header=st.integers(0, 200))
def test_no_bytes_do_more_than_be_refused(forest: Lane, sent: bytes, header: int) -> None:
    refusal(forest, sent, b"%d" % header)


@given(
    data=st.binary(max_size=40), count=st.integers(0, 5), datatype=st.sampled_from(["BYTES", "FP64", "INT64", "BOOL"])
)
def test_no_raw_bytes_do_more_than_be_refused(people: Lane, data: bytes, count: int, datatype: str) -> None:
    sent, header = body(raw("sex", [count], datatype, data), plain("age", [count], "INT64", [1] * count))
    refused: list[int] = []
    try:
        binary.read(sent, header, people)
    except Refused as error:
        refused.append(error.status)
    assert refused in ([], [400])


class Caller:
    def answered(self) -> None:
        return


def answer(lane: Lane, sent: tuple[bytes, bytes], rows: int) -> tuple[dict[str, Any], bytes, Exchange]:
    """The JSON of an answer, what follows it, and the exchange it went to."""
    inputs, encode, _ = binary.read(*sent, lane)
    exchange = Exchange(Caller(), Head("POST", b"/", {}, -1), 0.0)
    live = LiveTarget("thyroid.prod", "prod", 1, target("sha256:" + "0" * 64), lane)
    tally = Counting(lambda: 0.0).tally("thyroid.prod", "thyroid:1", "live", lane)
    ask = Ask(exchange, live, tally, "live", "01a", inputs, encode)
    found = encode(ask, lane.predict(ask.inputs))
    assert ask.rows == rows
    length = exchange.json_length or len(found)
    return json.loads(found[:length]), found[length:], exchange


def test_outputs_are_raw_where_they_are_asked_to_be(forest: Lane) -> None:
    values = np.random.default_rng(3).random((3, 4)).astype(np.float32)
    expected = forest.predict((values,))
    given = raw("input", [3, 4], "FP32", values.tobytes())
    document, rest, _ = answer(forest, body(given, parameters={"binary_data_output": True}, id="7"), 3)
    label, probabilities = document["outputs"]
    assert document["id"] == "7"
    assert label["parameters"] == {"binary_data_size": len(texts(*(expected.labels or [])))}
    assert "data" not in label
    assert probabilities == {
        "name": "probabilities",
        "shape": [3, 2],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 24},
    }
    assert rest == texts(*(expected.labels or [])) + expected.scores.tobytes()

    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    document, rest, _ = answer(forest, body(given, outputs=outputs), 3)
    assert [output["name"] for output in document["outputs"]] == ["probabilities", "label"]
    assert document["outputs"][1]["data"] == expected.labels
    assert rest == expected.scores.tobytes()

    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}]
    sent = body(given, outputs=outputs, parameters={"binary_data_output": True})
    document, rest, exchange = answer(forest, sent, 3)
    assert np.array_equal(np.float32(document["outputs"][0]["data"]), expected.scores.ravel())
    assert (rest, exchange.json_length) == (b"", None)


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"binary_data_output": "yes"}},
        {"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
        {"outputs": [{"name": "nothing", "parameters": {"binary_data": True}}]},
    ],
)
def test_what_is_asked_of_outputs_has_to_make_sense(forest: Lane, more: dict[str, Any]) -> None:
    refusal(forest, *body(raw("input", [1, 4], "FP32", ROW), **more))


def test_predictions_of_a_regression_are_raw_numbers(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    lane = load(keep_regression(blobs, mixed(), MIXED_COLUMNS), blobs)
    sent = body(
        plain("age", [1], "INT64", [61]), plain("weight", [1], "FP64", [70]), parameters={"binary_data_output": True}
    )
    document, rest, _ = answer(lane, sent, 1)
    assert document["outputs"][0]["shape"] == [1]
    assert np.frombuffer(rest, "<f8").tolist() == [131.0]
