from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.base.errors import Invalid
from lockgate.sdk.rows import answer, tensors

INPUTS: list[dict[str, Any]] = [
    {"name": "age", "datatype": "FP64", "shape": [-1]},
    {"name": "children", "datatype": "INT64", "shape": [-1]},
    {"name": "sex", "datatype": "BYTES", "shape": [-1]},
    {"name": "pregnant", "datatype": "BOOL", "shape": [-1]},
]


def data_of(rows: Any, inputs: list[dict[str, Any]] = INPUTS) -> dict[str, list[Any]]:
    return {tensor["name"]: tensor["data"] for tensor in tensors(rows, inputs)}


EXPECTED = {"age": [61.5, None], "children": [2, None], "sex": ["F", None], "pregnant": [True, None]}


def test_a_data_frame_becomes_one_tensor_a_column_whatever_stands_for_a_missing_value():
    frame = pd.DataFrame(
        {
            "age": [61.5, float("nan")],
            "children": pd.array([2, pd.NA], dtype="Int64"),
            "sex": ["F", None],
            "pregnant": pd.array([True, pd.NA], dtype="boolean"),
            "not asked for": [1, 2],
        }
    )
    assert data_of(frame) == EXPECTED


def test_rows_of_a_csv_are_read_as_the_model_wants_them():
    rows = [{"age": "61.5", "children": "2.0", "sex": "F", "pregnant": "true"}, dict.fromkeys(EXPECTED)]
    assert data_of(rows) == EXPECTED


def test_a_column_that_no_row_has_is_left_to_the_gateway():
    assert list(data_of([{"age": 61}])) == ["age"]


def test_a_matrix_has_its_columns_in_the_models_order():
    assert data_of(np.array([[1.5, 2.0], [3.0, 4.0]]), INPUTS[:2]) == {"age": [1.5, 3.0], "children": [2, 4]}


def test_a_matrix_goes_as_it_is_into_a_model_of_one_wide_input():
    wide: list[dict[str, Any]] = [{"name": "pixels", "datatype": "FP32", "shape": [-1, 3]}]
    (tensor,) = tensors([[1, 2, 3], [4, 5, 6]], wide)
    assert (tensor["shape"], tensor["data"]) == ([2, 3], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "there are no rows"),
        ([[1, 2]], "each row needs 4 values"),
        ([1, 2], "rows come as"),
        ([{"age": "old"}], "age holds something that is no FP64"),
        ([{"children": 2.5}], "children holds something that is no INT64"),
        ([{"pregnant": "perhaps"}], "pregnant holds something that is no BOOL"),
    ],
)
def test_rows_that_fit_no_model_are_refused_before_they_are_sent(rows: Any, said: str):
    with pytest.raises(Invalid, match=said):
        tensors(rows, INPUTS)


def test_a_single_row_has_the_id_of_its_request():
    output = {"name": "prediction", "shape": [1], "datatype": "FP64", "data": [4.5]}
    one = answer("price.prod", {"model_version": "2", "parameters": {"prediction_id": "01ab"}, "outputs": [output]})
    assert (one.prediction_ids, one.labels, one.generation) == (["01ab"], [4.5], None)


def test_nested_and_flat_outputs_are_the_same():
    flat = {"name": "probabilities", "shape": [2, 2], "datatype": "FP64", "data": [0.1, 0.9, 0.4, 0.6]}
    nested = {**flat, "data": [[0.1, 0.9], [0.4, 0.6]]}
    bodies = [{"outputs": [output]} for output in (flat, nested)]
    assert [answer("a.dev", body).probabilities for body in bodies] == [[[0.1, 0.9], [0.4, 0.6]]] * 2
