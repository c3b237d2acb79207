"""Models that were logged as ONNX: nothing to convert, everything to find out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import uses_external_data
from pandas import DataFrame

from lockgate.adapters.packages.answers import class_name
from lockgate.adapters.packages.convert import Compiled
from lockgate.adapters.packages.graphs import GraphRunner, session
from lockgate.adapters.packages.mlmodel import MLModel
from lockgate.base.errors import CorruptArtifact, Invalid, NotServable, UnsafeArtifact
from lockgate.base.paths import check_inside
from lockgate.domain.registry.manifest import Column, Graph, Parity, Signature

_NUMBERS = {"tensor(float)": "FP32", "tensor(double)": "FP64"}
_LABELS = ("tensor(int64)", "tensor(string)")


def open_onnx(folder: Path, described: MLModel) -> tuple[str, Any]:
    """Path of the graph in the folder, and the graph.

    Raises:
        CorruptArtifact: missing, or no valid ONNX.
        UnsafeArtifact: it reads its numbers from other files.
    """
    name = str(described.flavors["onnx"].get("data", "model.onnx"))
    check_inside(name)
    path = folder / name
    if not path.is_file():
        raise CorruptArtifact(f"MLmodel names {name!r}, and there is no such file", hint="log the model again")
    try:
        proto: Any = onnx.load_model_from_string(path.read_bytes())
        outside = any(uses_external_data(tensor) for tensor in _tensors(proto))
        if not outside:
            onnx.checker.check_model(proto)
    except Exception as error:  # protobuf and the checker raise classes of their own
        raise CorruptArtifact(f"{name!r} is no valid ONNX model: {str(error)[:200]}") from error
    if outside:
        raise UnsafeArtifact(
            f"{name!r} keeps its weights in other files",
            hint="save it in one piece, without external data",
        )
    return name, proto


def _tensors(proto: Any) -> Iterator[Any]:
    """Every constant of the model, those inside nodes, branches and functions included."""
    nodes: list[Any] = [node for function in proto.functions for node in function.node]
    graphs: list[Any] = [proto.graph]
    while graphs or nodes:
        for attribute in [attribute for node in nodes for attribute in node.attribute]:
            graphs += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
            yield from (attribute.t, *attribute.tensors)
            yield from _parts([attribute.sparse_tensor, *attribute.sparse_tensors])
        nodes = []
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            yield from _parts(graph.sparse_initializer)
            nodes = list(graph.node)


def _parts(sparse: Iterable[Any]) -> Iterator[Any]:
    return (part for tensor in sparse for part in (tensor.values, tensor.indices))


def adopt(
    proto: Any, inputs: tuple[Column, ...], rows: DataFrame | None, labels: Collection[Any], *, path: str
) -> tuple[Compiled, tuple[str, ...]]:
    """A graph as the gateway runs it, and its classes; proved on real rows where there are some.

    Raises:
        NotServable: inputs or outputs that the gateway cannot feed or read.
        Invalid: it refuses the rows.
    """
    data: bytes = proto.SerializeToString()
    loaded = session(data)
    graph = _described(loaded, inputs, path)
    classes = _classes(proto, loaded, graph, labels)
    runner = GraphRunner(data, graph, Signature(inputs=inputs, outputs=()), classes)
    count = 0
    if rows is not None and len(rows):
        answer = runner.answer(rows)
        count = len(answer)
        if answer.picked is not None and (answer.picked < 0).any():
            raise Invalid("the graph answers with a class that is none of its own")
    parity = Parity(rows=count, largest_difference=0.0, labels_equal=True)
    proved = Graph(
        path=path,
        layout=graph.layout,
        precision=graph.precision,
        matrix_input=graph.matrix_input,
        label_output=graph.label_output,
        score_output=graph.score_output,
        parity=parity,
    )
    return Compiled(data=data, graph=proved), classes


def _described(loaded: Any, inputs: tuple[Column, ...], path: str) -> Graph:
    given = {found.name: found.type for found in loaded.get_inputs()}
    fixed = [found.name for found in loaded.get_inputs() if found.shape and isinstance(found.shape[0], int)]
    if fixed:
        raise NotServable(
            f"the graph takes no other number of rows than its input {fixed[0]!r} names",
            hint="export it with a free first dimension",
        )
    names = [column.name for column in inputs]
    if sorted(given) == sorted(names) and not inputs[0].shape:
        layout, matrix = "columns", ""
    elif len(given) == 1 and next(iter(given.values())) in _NUMBERS:
        layout, matrix = "matrix", next(iter(given))
    else:
        raise NotServable(
            f"the graph takes {', '.join(given)}, and the signature says {', '.join(names)}",
            hint="give one input [N, features], or one [N, 1] of each column's name",
        )
    precision = next((_NUMBERS[kind] for kind in given.values() if kind in _NUMBERS), "FP32")
    label, score = _outputs(loaded)
    return Graph(
        path=path,
        layout=layout,
        precision=precision,
        matrix_input=matrix,
        label_output=label,
        score_output=score,
        parity=Parity(rows=0, largest_difference=0.0, labels_equal=True),
    )


def _outputs(loaded: Any) -> tuple[str, str]:
    found = loaded.get_outputs()
    scores = [output for output in found if output.type in _NUMBERS]
    labels = [output for output in found if output.type in _LABELS]
    if any(output.type.startswith("seq") for output in found):
        raise NotServable("the graph answers with a list of maps", hint="convert it again with zipmap off")
    if len(scores) != 1 or len(labels) > 1 or len(found) != len(scores) + len(labels):
        told = ", ".join(f"{output.name} ({output.type})" for output in found)
        raise NotServable(
            f"the graph answers with {told}", hint="a classifier gives label and probabilities, a regression one number"
        )
    return (labels[0].name if labels else ""), scores[0].name


def _classes(proto: Any, loaded: Any, graph: Graph, labels: Collection[Any]) -> tuple[str, ...]:
    """From the graph's own nodes, else from the data when the count is right, else numbered."""
    if not graph.label_output:
        return ()
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_") and (attribute.ints or attribute.strings):
                named = [text.decode() for text in attribute.strings] or [str(number) for number in attribute.ints]
                return tuple(named)
    shape = next(output.shape for output in loaded.get_outputs() if output.name == graph.score_output)
    width = shape[-1] if len(shape) == 2 and isinstance(shape[-1], int) else 0
    seen = sorted({class_name(value) for value in labels})
    if seen and (not width or len(seen) == width):
        return tuple(seen)
    if not width:
        raise NotServable("nothing says which classes the graph knows", hint="give holdout data with its label")
    return tuple(str(index) for index in range(width))
