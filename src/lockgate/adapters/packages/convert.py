"""Estimators into ONNX graphs: each layout and precision in turn, until one answers like the original."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lightgbm import Booster
from onnx import TensorProto, helper
from onnxmltools.convert import convert_lightgbm as convert_booster
from onnxmltools.convert.common import data_types as booster_types
from pandas import DataFrame
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

from lockgate.adapters.packages.converters import register
from lockgate.adapters.packages.graphs import GraphRunner, session
from lockgate.adapters.packages.original import Original
from lockgate.adapters.packages.parity import compare
from lockgate.base.errors import LockgateError, NotServable
from lockgate.domain.registry.manifest import Column, Graph, Kind, Parity, Signature

_OPSETS = {"": 18, "ai.onnx.ml": 3}
#: Name of the one input of the matrix layout.
_MATRIX = "lockgate_matrix"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way to convert."""

    #: matrix, split (a matrix that the graph takes apart itself) or columns.
    form: str
    #: FP32 or FP64.
    precision: str

    def __str__(self) -> str:
        return f"{self.form} {self.precision}"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A graph that agrees with its original."""

    data: bytes
    graph: Graph


def compile_original(
    original: Original, inputs: tuple[Column, ...], rows: DataFrame, *, path: str
) -> tuple[Compiled | None, str]:
    """The first graph that answers like the original on real rows, or None and why there is none.

    Args:
        original: the opened model.
        inputs: its columns.
        rows: real rows to compare on, typed, columns in the order of the signature.
        path: where the graph will lie in the package.
    """
    register()
    reasons: list[str] = []
    for attempt in _attempts(original, inputs):
        try:
            data = _converted(original, inputs, attempt)
            graph = _described(data, original, attempt, path)
            runner = GraphRunner(data, graph, Signature(inputs=inputs, outputs=()), original.classes)
            found = compare(original.answer, runner.answer, rows)
        except LockgateError as error:
            reasons.append(f"{attempt}: {error.message}")
            continue
        except Exception as error:  # converters raise anything for a model they do not know
            reasons.append(
                f"{attempt}: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            )
            continue
        if found.agrees:
            parity = Parity(
                rows=found.rows, largest_difference=found.largest_difference, labels_equal=found.labels_equal
            )
            return Compiled(data=data, graph=_with_parity(graph, parity)), ""
        reasons.append(f"{attempt}: {found.sentence}")
    return None, "; ".join(reasons)


def _attempts(original: Original, inputs: tuple[Column, ...]) -> Iterator[Attempt]:
    numbers = all(column.kind is not Kind.TEXT for column in inputs)
    plain = all(column.kind is Kind.NUMBER for column in inputs)
    boosted = isinstance(original.model, Booster)
    forms = ["matrix"] if numbers else []
    if numbers and not original.matrix and not boosted:
        forms.append("split")
    if not original.matrix and not boosted and not plain:
        forms.append("columns")
    for precision in ("FP32", "FP64"):
        yield from (Attempt(form=form, precision=precision) for form in forms)


def _converted(original: Original, inputs: tuple[Column, ...], attempt: Attempt) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = (
            _booster(original, inputs, attempt)
            if isinstance(original.model, Booster)
            else _estimator(original, inputs, attempt)
        )
    if attempt.form == "split":
        _take_apart(proto, [column.name for column in inputs], attempt.precision)
    return _loadable(proto)


def _estimator(original: Original, inputs: tuple[Column, ...], attempt: Attempt) -> Any:
    model = original.model
    number = FloatTensorType if attempt.precision == "FP32" else DoubleTensorType
    types: list[tuple[str, Any]]
    if attempt.form == "matrix":
        types = [(_MATRIX, number([None, _width(inputs)]))]
    else:
        types = [(column.name, _type(column, attempt, number)([None, 1])) for column in inputs]
    options = {id(model): {"zipmap": False}} if original.task == "classification" else None
    converted: Any = convert_sklearn(
        model, "model", types, options=options, target_opset=_OPSETS, naming="n_", model_optim=True
    )
    return converted


def _booster(original: Original, inputs: tuple[Column, ...], attempt: Attempt) -> Any:
    if attempt.precision == "FP64":
        raise NotServable("a bare booster converts in single precision only; log the estimator that trained it")
    types = [(_MATRIX, booster_types.FloatTensorType([None, _width(inputs)]))]
    converted: Any = convert_booster(original.model, initial_types=types, target_opset=15, zipmap=False)
    return converted


def _type(column: Column, attempt: Attempt, number: Any) -> Any:
    if column.kind is Kind.TEXT:
        return StringTensorType
    whole = attempt.form == "columns" and column.kind in (Kind.INTEGER, Kind.BOOLEAN) and not column.optional
    return Int64TensorType if whole else number


def _width(inputs: tuple[Column, ...]) -> int:
    return inputs[0].shape[0] if inputs[0].shape else len(inputs)


def _take_apart(proto: Any, names: list[str], precision: str) -> None:
    """Put one matrix in front of a graph that takes a column each: the caller builds one tensor and not many."""
    graph = proto.graph
    element = TensorProto.FLOAT if precision == "FP32" else TensorProto.DOUBLE
    present = {found.name for found in graph.input}
    used = [name if name in present else f"{name}_unused" for name in names]
    ones = [1] * len(names)
    if len(names) == 1:
        node = helper.make_node("Identity", [_MATRIX], used)
    elif _opset(proto) < 13:
        node = helper.make_node("Split", [_MATRIX], used, axis=1, split=ones)
    else:
        graph.initializer.append(helper.make_tensor("lockgate_split", TensorProto.INT64, [len(names)], ones))
        node = helper.make_node("Split", [_MATRIX, "lockgate_split"], used, axis=1)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(_MATRIX, element, [None, len(names)]))
    graph.node.insert(0, node)


def _opset(proto: Any) -> int:
    """Version of the standard operators; converters name the lowest that their nodes need, or none at all."""
    known = [found.version for found in proto.opset_import if not found.domain]
    if not known:
        proto.opset_import.append(helper.make_opsetid("", _OPSETS[""]))
    return known[0] if known else _OPSETS[""]


def _loadable(proto: Any) -> bytes:
    """The bytes; trees answer in single precision whatever they take, and converters declare otherwise."""
    data: bytes = proto.SerializeToString()
    try:
        session(data)
    except NotServable:
        for output in proto.graph.output:
            if output.type.tensor_type.elem_type == TensorProto.DOUBLE:
                output.type.tensor_type.elem_type = TensorProto.FLOAT
        data = proto.SerializeToString()
    return data


def _described(data: bytes, original: Original, attempt: Attempt, path: str) -> Graph:
    names = [found.name for found in session(data).get_outputs()]
    labelled = original.task == "classification"
    if len(names) != (2 if labelled else 1):
        raise NotServable(f"the graph has the outputs {', '.join(names)}")
    return Graph(
        path=path,
        layout="columns" if attempt.form == "columns" else "matrix",
        precision=attempt.precision,
        matrix_input="" if attempt.form == "columns" else _MATRIX,
        label_output=names[0] if labelled else "",
        score_output=names[-1],
        parity=Parity(rows=0, largest_difference=0.0, labels_equal=False),
    )


def _with_parity(graph: Graph, parity: Parity) -> Graph:
    return Graph(
        path=graph.path,
        layout=graph.layout,
        precision=graph.precision,
        matrix_input=graph.matrix_input,
        label_output=graph.label_output,
        score_output=graph.score_output,
        parity=parity,
    )
