from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.upstream import oip_client
from lockgate.domain.registry.manifest import Column, Kind, Manifest, Output, Signature
from lockgate.domain.registry.remote import Remote, RemoteTensor

COLUMNS = (
    Column(name="age", kind=Kind.INTEGER, datatype="INT64", optional=True),
    Column(name="name", kind=Kind.TEXT, datatype="BYTES"),
    Column(name="image", kind=Kind.NUMBER, datatype="FP32", shape=(2, 2)),
)
INPUTS = (
    np.array([[61.0], [np.nan]]),
    np.array([["Ada"], ["Åse"]], dtype=object),
    np.arange(8, dtype=np.float32).reshape(2, 2, 2),
)


def remote(**more: Any) -> Remote:
    inputs = (
        RemoteTensor(name="age", datatype="INT64", shape=(-1, 1)),
        RemoteTensor(name="name", datatype="BYTES", shape=(-1,)),
        RemoteTensor(name="image", datatype="FP32", shape=(-1, 2, 2)),
    )
    fields: dict[str, Any] = {"inputs": inputs, "outputs": (RemoteTensor(name="y", datatype="FP64", shape=(-1,)),)}
    return Remote(**fields | more)


def manifest(task: str = "other", classes: tuple[str, ...] = (), *outputs: Output) -> Manifest:
    signature = Signature(inputs=COLUMNS, outputs=outputs or (Output(name="y", datatype="FP64"),))
    return Manifest(
        model="m",
        task=task,
        flavor="upstream",
        serialization="remote",
        files={},
        signature=signature,
        graph=None,
        classes=classes,
    )


def test_rows_go_out_in_the_shapes_the_server_told_and_gaps_as_null():
    body, headers = oip_client.request(remote(), INPUTS)
    age, name, image = json.loads(body)["inputs"]
    assert headers == {"content-type": "application/json"}
    assert (age["shape"], age["data"]) == ([2, 1], [61, None])
    assert (name["shape"], name["data"]) == ([2], ["Ada", "Åse"])
    assert (image["shape"], image["datatype"], image["data"]) == ([2, 2, 2], "FP32", list(range(8)))


def test_a_server_that_can_gets_raw_tensors():
    plain = remote(inputs=remote().inputs[1:], extensions=("binary_tensor_data",))
    body, headers = oip_client.request(plain, INPUTS[1:])
    length = int(headers["inference-header-content-length"])
    head = json.loads(body[:length])
    assert head["parameters"] == {"binary_data_output": True}
    assert [each["parameters"]["binary_data_size"] for each in head["inputs"]] == [15, 32]
    assert body[length : length + 15] == b"\x03\0\0\0Ada\x04\0\0\0" + "Åse".encode()


@pytest.mark.parametrize(
    ("datatype", "value"), [("INT8", 300.0), ("INT8", np.nan), ("UINT8", -1.0), ("FP16", 1e6), ("BOOL", 2.0)]
)
def test_a_value_that_the_server_cannot_hold_is_refused_and_not_cut(datatype: str, value: float):
    narrow = remote(
        inputs=(RemoteTensor(name="n", datatype=datatype, shape=(-1,)),), extensions=("binary_tensor_data",)
    )
    with pytest.raises(Refused, match="does not fit"):
        oip_client.request(narrow, (np.array([[value]]),))
    oip_client.request(narrow, (np.array([[1.0]]),))


def answered(body: bytes, told: Remote | None = None, made: Manifest | None = None, **headers: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return oip_client.answer(told or remote(), made or manifest(), headers, body, 2)[0]


def body_of(*outputs: dict[str, Any]) -> bytes:
    return json.dumps({"model_name": "m", "model_version": "3", "outputs": list(outputs)}).encode()


def y(data: Any, **more: Any) -> dict[str, Any]:
    return {"name": "y", "datatype": "FP64", "shape": [2], "data": data} | more


def test_outputs_of_a_models_own_keep_their_shape_and_texts():
    outputs = (
        RemoteTensor(name="a", datatype="FP32", shape=(-1, 2)),
        RemoteTensor(name="b", datatype="BYTES", shape=(-1,)),
    )
    made = manifest("other", (), Output(name="a", datatype="FP32", shape=(2,)), Output(name="b", datatype="BYTES"))
    found = answered(
        body_of(
            {"name": "b", "datatype": "BYTES", "shape": [2], "data": ["x", "y"]},
            {"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]},
        ),
        remote(outputs=outputs),
        made,
    )
    assert found.others["a"].tolist() == [[1, 2], [3, 4]]
    assert found.others["b"].tolist() == ["x", "y"]
    assert found.scores.shape == (2, 0)
    assert found.sound()


def test_a_number_that_is_missing_is_never_passed_on():
    assert not answered(body_of(y([1.0, None])), remote(score_output="y"), manifest("regression")).sound()


def test_raw_answers_are_read():
    head = json.dumps(
        {"outputs": [{"name": "y", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16}}]}
    )
    body = head.encode() + struct.pack("<2d", 0.5, 1.5)
    found = answered(
        body, remote(score_output="y"), manifest("regression"), inference_header_content_length=str(len(head))
    )
    assert found.scores.tolist() == [[0.5], [1.5]]


def test_labels_and_probabilities_of_a_classifier():
    told = remote(
        outputs=(
            RemoteTensor(name="l", datatype="INT64", shape=(-1,)),
            RemoteTensor(name="p", datatype="FP32", shape=(-1, 2)),
        ),
        label_output="l",
        score_output="p",
    )
    found = answered(
        body_of(
            {"name": "l", "datatype": "INT64", "shape": [2], "data": [0, 1]},
            {"name": "p", "datatype": "FP32", "shape": [2, 2], "data": [0.75, 0.25, 0.5, 0.5]},
        ),
        told,
        manifest("classification", ("0", "1")),
    )
    assert found.labels == [0, 1]
    assert found.scores.tolist() == [[0.75, 0.25], [0.5, 0.5]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{" * 100_000,
        b'{"outputs": 3}',
        b'{"outputs": []}',
        body_of(y([1.0])),
        body_of(y([1.0, 2.0, 3.0], shape=[3])),
        body_of(y([1.0, 2.0], shape=[-1, -2])),
        body_of(y(["a", "b"], datatype="FP128")),
        body_of(y([], shape=[])),
        body_of(y([1, 2], parameters={"binary_data_size": 16})),
        body_of(y([1, 2], parameters={"binary_data_size": "many"})),
    ],
)
def test_an_answer_that_is_none_is_told_as_such(body: bytes):
    with pytest.raises(oip_client.NoAnswer):
        answered(body)


@pytest.mark.parametrize("length", ["x", "-1", "99999"])
def test_a_head_of_no_length_is_no_answer(length: str):
    with pytest.raises(oip_client.NoAnswer):
        answered(body_of(y([1.0, 2.0])), inference_header_content_length=length)
