from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane import invocations, oip
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.refusal import Refused
from lockgate.domain.registry.manifest import Column, Kind
from tests.serving import MIXED_COLUMNS, keep_classifier, keep_regression, mixed, oip_body, reciprocal


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("people"))
    return load(keep_regression(blobs, mixed(), MIXED_COLUMNS), blobs)


def read(lane: Lane, document: Any) -> tuple[Any, ...]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    found = oip.read(body, lane)[0]
    return lane.intake.from_rows([found]) if isinstance(found, list) else found


def refusal(lane: Lane, document: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read(lane, document)
    assert caught.value.status == 400
    return caught.value


def tensor(name: str, data: list[Any], datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


finite = st.floats(-1e30, 1e30, allow_nan=False)


@given(rows=st.integers(1, 120), seed=st.integers(0, 1000), flat=st.booleans(), integers=st.booleans())
def test_a_matrix_is_taken_nested_or_flat_large_or_small(
    forest: Lane, rows: int, seed: int, flat: bool, integers: bool
) -> None:
    chance = np.random.default_rng(seed)
    matrix = chance.integers(-5, 5, (rows, 4)) if integers else chance.normal(size=(rows, 4))
    data = matrix.ravel().tolist() if flat else matrix.tolist()
    datatype = "INT32" if integers else "FP64"
    [found] = read(forest, {"inputs": [tensor("input", data, datatype, [rows, 4])]})
    assert found.dtype == np.float32
    assert np.array_equal(found, matrix.astype(np.float32))


@given(values=st.lists(st.lists(finite, min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_matrix_and_its_columns_mean_the_same(forest: Lane, values: list[list[float]]) -> None:
    block = read(forest, oip_body(values))
    columns = [tensor(f"x{at}", [row[at] for row in values]) for at in range(4)]
    apart = read(forest, {"inputs": columns})
    [split] = [
        invocations.read(
            json.dumps({"dataframe_split": {"columns": ["x0", "x1", "x2", "x3"], "data": values}}).encode(),
            b"application/json",
            forest.intake,
        )
    ]
    assert np.array_equal(block[0], apart[0])
    assert np.array_equal(block[0], split[0])


@given(
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    data=st.recursive(
        st.floats(-5, 5) | st.none() | st.booleans() | st.just("a"),
        lambda part: st.lists(part, max_size=5),
        max_leaves=24,
    ),
)
def test_what_is_not_a_regular_array_of_the_promised_shape_is_refused(
    forest: Lane, shape: list[int], data: Any
) -> None:
    document = {"inputs": [{"name": "input", "shape": shape, "datatype": "FP64", "data": data}]}
    try:
        array = np.array(data, dtype=object)
        numbers = all(type(value) is float for value in array.ravel().tolist())
        good = (
            array.ndim > 0
            and numbers
            and array.size == np.prod(shape)
            and len(shape) == 2
            and shape[1] == 4
            and shape[0] > 0
        )
    except ValueError:
        good = False
    if good:
        assert read(forest, document)[0].shape == tuple(shape)
    else:
        refusal(forest, document)


@given(body=st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(forest: Lane, body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        oip.read(body, forest)
    assert caught.value.status == 400


@given(
    rows=st.integers(70, 200),
    place=st.integers(0, 10_000),
    what=st.sampled_from([[], [1.0], None, "a", True, [1.0, 2.0]]),
)
def test_a_large_matrix_with_one_stranger_in_it_is_refused(forest: Lane, rows: int, place: int, what: Any) -> None:
    matrix: list[list[Any]] = np.random.default_rng(1).random((rows, 4)).tolist()
    matrix[place % rows][place % 4] = what
    refusal(forest, {"inputs": [tensor("input", matrix, "FP64", [rows, 4])]})


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "not an inference request"),
        ({}, "inputs"),
        ({"inputs": []}, "no inputs"),
        ({"inputs": [tensor("input", [1, 2, 3], shape=[1, 3])]}, "3 values a row, the model takes 4"),
        ({"inputs": [tensor("input", [1, 2, 3], shape=[1, 4])]}, "has 3 values but its shape"),
        ({"inputs": [tensor("input", [[1, 2], [3]], shape=[1, 4])]}, "ragged"),
        ({"inputs": [tensor("input", [1, 2, 3, None], shape=[1, 4])]}, "'x3' has no value in row 0"),
        ({"inputs": [tensor("input", [1, 2, 3, "a"], shape=[1, 4])]}, "'x3' wants numbers; row 0 has 'a'"),
        ({"inputs": [tensor("input", [1, 2, 3, 1e300], shape=[1, 4])]}, "too large"),
        ({"inputs": [tensor("input", [1, 2, 3, 4], "FP99", [1, 4])]}, "datatype"),
        ({"inputs": [tensor("input", [1, 2, 3, 400], "INT8", [1, 4])]}, "400 does not fit INT8"),
        ({"inputs": [tensor("input", [1, 2, 3, 1.5], "INT64", [1, 4])]}, None),
        ({"inputs": [tensor("input", [], shape=[0, 4])]}, "no rows"),
        ({"inputs": [tensor("input", [1], shape=[-1, 4])]}, "shape"),
        ({"inputs": [tensor("input", [1], shape=[1 << 40, 4])]}, "too large"),
        ({"inputs": [tensor("x0", [1.0])]}, "lacks the columns 'x1', 'x2', 'x3'"),
        ({"inputs": [tensor(f"x{at}", [1.0]) for at in range(5)]}, "has no column 'x4'"),
        ({"inputs": [tensor("x0", [1.0]), tensor("x0", [1.0])]}, "twice"),
        ({"inputs": [tensor("x0", [1.0]), tensor("x1", [1.0, 2.0])]}, "rows"),
        (oip_body([[1, 2, 3, 4]], outputs=[{"name": "nothing"}]), "no output 'nothing'"),
        (b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[1,2,3,NaN]}]}', "not JSON"),
        (b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[1,2,3,Infinity]}]}', "not JSON"),
        (b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[1,2,3,1e999]}]}', None),
        (
            b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
            None,
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_saying_why(forest: Lane, document: Any, told: str | None) -> None:
    refused = refusal(forest, document)
    assert refused.code == "invalid_input"
    assert told is None or told in refused.message


def test_columns_of_each_kind_reach_the_graph_in_its_types(people: Lane) -> None:
    age, weight, sex = read(
        people,
        {
            "inputs": [
                tensor("weight", [70, 80.5], "FP32", [2, 1]),
                tensor("age", [61, 62], "INT32"),
                tensor("sex", ["F", "M"], "BYTES"),
            ]
        },
    )
    assert (age.dtype, weight.dtype, sex.dtype) == (np.int64, np.float64, np.object_)
    assert people.predict((age, weight, sex)).scores.tolist() == [[231.0], [142.5]]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([tensor("age", [1.5]), tensor("weight", [1])], "'age' wants whole numbers, not 1.5"),
        ([tensor("age", ["x"], "BYTES"), tensor("weight", [1])], "datatype BYTES"),
        ([tensor("age", [True], "BOOL"), tensor("weight", [1])], "datatype BOOL"),
        ([tensor("age", [1], "INT64"), tensor("weight", [1], shape=[1, 2])], "the shape"),
        (
            [tensor("age", [1], "INT64"), tensor("weight", [1]), tensor("sex", [7], "BYTES")],
            "'sex' wants text; row 0 has 7",
        ),
        ([tensor("age", [2**63], "UINT64"), tensor("weight", [1])], "beyond 64 bits"),
        ([tensor("age", [1e30]), tensor("weight", [1])], "beyond 64 bits"),
        ([tensor("age", [None], "INT64"), tensor("weight", [1])], "no value in row 0"),
    ],
)
def test_a_column_of_the_wrong_kind_is_refused_by_name(people: Lane, inputs: list[Any], told: str) -> None:
    assert told in refusal(people, {"inputs": inputs}).message


def test_an_optional_column_may_be_left_out_or_null(people: Lane) -> None:
    left_out = read(people, {"inputs": [tensor("age", [61], "INT64"), tensor("weight", [70])]})
    null = read(
        people, {"inputs": [tensor("age", [61], "INT64"), tensor("weight", [70]), tensor("sex", [None], "BYTES")]}
    )
    assert left_out[2].tolist() == null[2].tolist() == [[""]]
    assert people.intake.watched(null)["sex"].tolist() == [None]


def score(lane: Lane, body: Any, kind: bytes = b"application/json") -> list[Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [array[:, 0].tolist() for array in invocations.read(data, kind, lane.intake)]


ROWS = [[61], [70.0], ["F"]]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["sex", "age", "weight"], "data": [["F", 61, 70]]}},
        {"dataframe_split": {"data": [[61, 70, "F"]]}},
        {"dataframe_records": [{"weight": 70.0, "sex": "F", "age": 61}]},
        {"instances": [{"weight": 70.0, "sex": "F", "age": 61}]},
        {"instances": [[61, 70.0, "F"]]},
        {"instances": {"age": [61], "weight": [70.0], "sex": ["F"]}},
        {"inputs": {"age": [61], "weight": [70.0], "sex": ["F"]}},
        {"inputs": [[61, 70.0, "F"]], "params": {}},
    ],
)
def test_every_json_form_of_mlflow_means_the_same_row(people: Lane, body: Any) -> None:
    assert score(people, body) == ROWS


def test_csv_means_the_same_row(people: Lane) -> None:
    assert score(people, b"sex,age,weight\r\nF,61,70\r\n", b"text/csv; charset=utf-8") == ROWS
    assert score(people, b"age,weight\n61,70.0\n", b"text/csv")[2] == [""]


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b"nonsense", b"application/json", 400, "not JSON"),
        (b"[]", b"application/json", 400, "not a JSON object"),
        (b"{}", b"application/json", 400, "nothing"),
        (b'{"inputs": [], "instances": []}', b"application/json", 400, "'inputs', 'instances'"),
        (b'{"inputs": [[1,2,"F"]], "more": 1}', b"application/json", 400, "'more'"),
        (b'{"inputs": [[1,2,"F"]], "params": {"a": 1}}', b"application/json", 400, "params"),
        (b'{"inputs": []}', b"application/json", 400, "no rows"),
        (b'{"inputs": [[1,2]]}', b"application/json", 400, "row 0 has 2 values"),
        (b'{"inputs": [1]}', b"application/json", 400, "row 0 has 1"),
        (b'{"inputs": {"age": [1], "weight": [1, 2]}}', b"application/json", 400, "differ in length"),
        (b'{"inputs": {"age": 1}}', b"application/json", 400, "list of values"),
        (b'{"dataframe_split": []}', b"application/json", 400, "needs data"),
        (b'{"dataframe_split": {"columns": [1], "data": [[1]]}}', b"application/json", 400, "list of names"),
        (b'{"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}}', b"application/json", 400, "twice"),
        (b'{"dataframe_records": [1]}', b"application/json", 400, "list of objects"),
        (b'{"dataframe_records": [{"age": 1.5, "weight": 1}]}', b"application/json", 400, "1.5"),
        (b'{"inputs": [[NaN, 1, "F"]]}', b"application/json", 400, "not JSON"),
        (b"", b"text/csv", 400, "no rows"),
        (b"age,age\n1,2\n", b"text/csv", 400, "twice"),
        (b"age,weight\n1\n", b"text/csv", 400, "has 1 values"),
        (b"age,weight\n1,nan\n", b"text/csv", 400, "nan"),
        (b"age,weight\n1_0,2\n", b"text/csv", 400, "'1_0'"),
        (b"age,weight\n,2\n", b"text/csv", 400, "no value"),
        (b"\xff\xfe", b"text/csv", 400, "UTF-8"),
        (b"{}", b"application/xml", 415, "application/xml"),
    ],
)
def test_what_mlflow_forms_cannot_say_is_refused(
    people: Lane, body: bytes, kind: bytes, status: int, told: str
) -> None:
    with pytest.raises(Refused) as caught:
        score(people, body, kind)
    assert caught.value.status == status
    assert told in caught.value.message


def test_a_column_that_is_a_tensor_is_taken_by_its_name(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    lane = load(
        keep_regression(
            blobs,
            reciprocal(-2.0),
            (Column(name="x", kind=Kind.NUMBER, datatype="FP64", shape=(1,), low=0.0, high=1.0),),
        ),
        blobs,
    )
    assert read(lane, {"inputs": [tensor("x", [[1.0], [2.0]], shape=[2, 1])]})[0].tolist() == [[1.0], [2.0]]
    assert score(lane, {"inputs": {"x": [[1.0], [2.0]]}}) == [[1.0, 2.0]]
    assert "shape" in refusal(lane, {"inputs": [tensor("x", [1.0, 2.0])]}).message


@given(
    rows=st.integers(60, 90),
    width=st.just(4),
    torn=st.sampled_from(("a row too short", "a row too long", "a number between rows", "a row within a row", "whole")),
    place=st.integers(0, 58),
)
def test_a_large_table_is_taken_only_when_every_row_is_as_long(
    forest: Lane, rows: int, width: int, torn: str, place: int
) -> None:
    table: list[Any] = [[row + column / 8 + 1000.0 for column in range(width)] for row in range(rows)]
    if torn == "a row too short":
        table[place] = table[place][:-1]
        table[place + 1] = [*table[place + 1], 1.0]
    elif torn == "a row too long":
        table[place] = [*table[place], 1.0]
        table[place + 1] = table[place + 1][:-1]
    elif torn == "a number between rows":
        table[place : place + 2] = [table[place], 1.0, [*table[place + 1][:-1]]]
    elif torn == "a row within a row":
        table[place] = [*table[place][:-1], [table[place][-1]]]
    document = {"inputs": [tensor("input", table, "FP64", [rows, width])]}
    if torn == "whole":
        assert np.array_equal(read(forest, document)[0], np.array(table, dtype=np.float32))
    else:
        refusal(forest, document)
