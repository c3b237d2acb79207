"""What a table or a graph from elsewhere may hold."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from onnx import ModelProto, TensorProto, helper

from lockgate.adapters.packages.mlmodel import MLModel
from lockgate.adapters.packages.onnx_models import adopt, open_onnx
from lockgate.adapters.packages.tables import Table, typed
from lockgate.base.errors import Invalid, NotServable, UnsafeArtifact
from lockgate.domain.registry.manifest import Column, Kind

NUMBER = (Column(name="x", kind=Kind.NUMBER, datatype="FP32"),)


def truth_of(*values: object) -> list[object]:
    columns = (Column(name="sick", kind=Kind.BOOLEAN, datatype="BOOL", optional=True),)
    table = Table(role="training", frame=pd.DataFrame({"sick": list(values)}))
    return typed(table, columns)["sick"].tolist()


def test_true_and_false_may_be_written_as_numbers_and_may_be_missing() -> None:
    assert truth_of(True, False) == [True, False]
    assert truth_of(1, 0) == [True, False]
    assert truth_of(True, None, False)[::2] == [1.0, 0.0]


@pytest.mark.parametrize("values", [("yes", "no"), ("false", "true"), (1, 2)])
def test_what_is_neither_true_nor_false_is_not_taken_for_true(values: tuple[object, ...]) -> None:
    with pytest.raises(Invalid) as refused:
        truth_of(*values)
    assert "sick: should hold booleans" in refused.value.problems[0]


def adding(constant: TensorProto, rows: int | None) -> ModelProto:
    """One column plus a constant that stands in a node."""
    nodes = [helper.make_node("Constant", [], ["c"], value=constant), helper.make_node("Add", ["x", "c"], ["y"])]
    given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, 1]) for name in "xy")
    return helper.make_model(
        helper.make_graph(nodes, "adding", [given], [found]), opset_imports=[helper.make_opsetid("", 15)], ir_version=8
    )


def test_a_constant_inside_a_node_may_not_lie_in_another_file(tmp_path: Path) -> None:
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    constant.ClearField("float_data")
    constant.data_location = TensorProto.EXTERNAL
    place = constant.external_data.add()
    place.key, place.value = "location", "elsewhere.bin"
    (tmp_path / "model.onnx").write_bytes(adding(constant, None).SerializeToString())
    with pytest.raises(UnsafeArtifact, match="other files"):
        open_onnx(tmp_path, MLModel(flavors={"onnx": {"data": "model.onnx"}}, inputs=None))


def test_a_graph_for_one_number_of_rows_only_is_refused_before_a_gateway_meets_it() -> None:
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    assert adopt(adding(constant, None), NUMBER, None, (), path="model.onnx")[1] == ()
    with pytest.raises(NotServable, match="number of rows"):
        adopt(adding(constant, 1), NUMBER, None, (), path="model.onnx")
