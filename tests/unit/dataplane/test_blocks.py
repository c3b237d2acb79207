from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane import oip
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.refusal import Refused
from tests.serving import keep_classifier

#: As long as a body has to be for the way that reads it in one pass.
PADDING = " " * 4000


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


def outcome(read: Any, body: bytes, lane: Lane) -> Any:
    """What a way of reading makes of a body: bytes of the inputs, or what it says."""
    try:
        found = read(body, lane)
    except Refused as refused:
        return refused.status, refused.code, refused.message
    return None if found is None else (found[0][0].dtype, found[0][0].shape, found[0][0].tobytes())


number = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70))
odd = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.lists(number, max_size=2))


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Requests as a forest of four columns takes them, and such as it does not."""
    width = draw(st.sampled_from([4, 4, 4, 3]))
    rows = draw(st.integers(0, 4))
    data: Any = draw(st.lists(st.one_of(number, number, number, odd), min_size=rows * width, max_size=rows * width))
    if draw(st.booleans()):
        data = [data[at : at + width] for at in range(0, len(data), width)]
    if draw(st.integers(0, 9)) == 0:
        data = data[:-1]
    tensor = {
        "name": draw(st.sampled_from(["x", "a[b", "é", "x0"])),
        "shape": draw(st.sampled_from([[rows, width], [rows, width], [rows, -width], [rows], [rows, 4.0]])),
        "datatype": draw(st.sampled_from(["FP64", "FP32", "INT64", "BOOL", "none"])),
        "data": data,
    }
    said = json.dumps({"inputs": [tensor]} | draw(st.sampled_from([{}, {}, {"id": "a"}, {"parameters": {}}])))
    if draw(st.integers(0, 5)) == 0:
        # A key that comes twice: the last one counts.
        said = said.replace('"datatype"', '"shape": [1, 4], "datatype"', 1)
    return said + PADDING


@given(said=bodies())
@example(said=json.dumps({"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": [0.5] * 8}]}) + PADDING)
@example(
    said='{"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": [[1, 2, 3, 4, 5], [6], [7, 8]]}]}'
    + PADDING
)
def test_a_large_request_read_in_one_pass_is_what_the_thorough_way_makes_of_it(said: str, forest: Lane) -> None:
    body = said.encode()
    quick = outcome(oip.read_block, body, forest)
    assert quick is None or quick == outcome(oip.read, body, forest)


@pytest.mark.parametrize("nested", [False, True])
def test_many_rows_of_one_tensor_are_read_in_one_pass(nested: bool, forest: Lane) -> None:
    rows: Any = np.random.default_rng(3).random((200, 4)).round(3).tolist()
    data = rows if nested else [value for row in rows for value in row]
    tensor = {"name": "x", "shape": [200, 4], "datatype": "FP64", "data": data}
    found = oip.read_block(json.dumps({"inputs": [tensor]}).encode(), forest)
    assert found is not None
    assert np.array_equal(found[0][0], np.array(rows, dtype=np.float32))
