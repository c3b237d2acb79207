"""What goes over a runner's socket comes out as it went in, and nothing else is understood."""

from __future__ import annotations

import socket
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lockgate.adapters.python_runner.program import frames
from lockgate.adapters.python_runner.program.results import named

NUMBERS = arrays.arrays(
    dtype=st.sampled_from(["<f8", "<f4", "<i8", "<i4", "<u1", "|b1", ">f8", ">i4"]),
    shape=arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
)
TEXTS = arrays.arrays(dtype=object, shape=arrays.array_shapes(max_dims=2, max_side=4), elements=st.text(max_size=8))
COLUMNS = st.dictionaries(st.text(max_size=10), NUMBERS | TEXTS, max_size=4)


@given(st.dictionaries(st.sampled_from(["id", "op", "more"]), st.integers() | st.text()), COLUMNS)
def test_a_frame_comes_out_as_it_went_in(header: dict[str, Any], columns: dict[str, Any]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.send(ours, header, columns)
        ours.close()
        found = frames.receive(theirs)
        assert found is not None
        said, got = found
        assert frames.receive(theirs) is None
    assert said == header
    assert list(got) == list(columns)
    for name, array in columns.items():
        assert got[name].shape == array.shape
        assert got[name].dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(got[name], array)
        if array.dtype.kind != "O":
            assert got[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
            assert got[name].flags.aligned


@given(st.binary(max_size=80))
def test_bytes_that_are_no_frame_are_refused_and_never_taken_for_one(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.close()
        try:
            assert frames.receive(theirs) is None or len(data) > frames.PREFIX.size
        except frames.BrokenFrame:
            return


@pytest.mark.parametrize(
    "column",
    [["x", "|O", [1], 8], ["x", "<f8", [2], 8], ["x", "<M8[s]", [1], 8], ["x", "nonsense", [1], 8], "x", ["x", "<f8"]],
)
def test_a_column_that_could_be_anything_is_refused(column: Any) -> None:
    import json

    with pytest.raises(frames.BrokenFrame):
        frames.unpack(json.dumps({"columns": [column]}).encode(), bytes(8))


def test_a_frame_larger_than_any_can_be_is_refused_before_its_memory_is_taken() -> None:
    with pytest.raises(frames.BrokenFrame):
        frames.sizes(struct.pack("<IQ", 1 << 31, 0))
    with pytest.raises(frames.BrokenFrame):
        frames.sizes(struct.pack("<IQ", 2, 1 << 60))


def test_one_number_a_row_is_a_prediction_and_all_else_goes_by_its_name() -> None:
    import pandas as pd

    assert named([1, 2], 2)["scores"].tolist() == [[1.0], [2.0]]
    assert named(np.ones((2, 1), dtype=np.float32), 2)["scores"].dtype == np.float64
    assert named(pd.Series([1.5, 2.5]), 2)["scores"].tolist() == [[1.5], [2.5]]
    assert named(3.0, 1)["scores"].tolist() == [[3.0]]
    assert named(pd.DataFrame({"risk": [1.0, 2.0]}), 2)["scores"].tolist() == [[1.0], [2.0]]
    several = named(pd.DataFrame({"risk": [0.5, 1.0], "word": ["low", None], "count": [1, 2]}), 2)
    assert list(several) == ["other:risk", "other:word", "other:count"]
    assert several["other:word"].tolist() == ["low", ""]
    assert several["other:count"].dtype == np.int64
    assert named({"left": [1.0], "right": [[1.0, 2.0]]}, 1)["other:right"].shape == (1, 2)
    assert named(np.ones((2, 3)), 2)["other:output"].shape == (2, 3)
    assert named(["yes", "no"], 2)["other:output"].tolist() == ["yes", "no"]
    assert named([True, False], 2)["other:output"].dtype == np.bool_
    assert named([{"a": 1}, [1, 2]], 2)["other:output"].tolist() == ['{"a": 1}', "[1, 2]"]
    assert named([1, 0], 2, label="label")["other:label"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="3 for 2 rows"):
        named([1, 2, 3], 2)
    with pytest.raises(ValueError, match="one value for 2 rows"):
        named(1.0, 2)
