"""ONNX graphs, run exactly as the gateway runs them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.answers import Answer, class_indexes
from lockgate.base.errors import CorruptArtifact, Invalid, NotServable
from lockgate.domain.registry.manifest import Column, Graph, Kind, Manifest, Signature
from lockgate.ports import Blobs

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}

Feeds = dict[str, NDArray[Any]]


class GraphRunner:
    """One loaded graph."""

    def __init__(self, data: bytes, graph: Graph, signature: Signature, classes: tuple[str, ...]) -> None:
        """Raises NotServable when ONNX Runtime cannot load it, or its inputs are not those of the signature."""
        self.session = session(data)
        self._graph = graph
        self._columns = signature.inputs
        self._classes = classes
        given = {found.name: found.type for found in self.session.get_inputs()}
        names = [graph.matrix_input] if graph.layout == "matrix" else [column.name for column in signature.inputs]
        if sorted(given) != sorted(names) or any(kind not in _TYPES for kind in given.values()):
            raise NotServable(f"the graph takes {', '.join(given)} where the signature says {', '.join(names)}")
        self._dtypes = {name: _TYPES[given[name]] for name in names}
        self._outputs = [name for name in (graph.score_output, graph.label_output) if name]

    def feeds(self, frame: DataFrame) -> Feeds:
        """Rows as the graph's inputs. Columns are those of the signature, in order; a tensor's features for a tensor.

        Raises:
            Invalid: a gap where the graph's type cannot hold one.
        """
        if self._graph.layout == "matrix":
            dtype = self._dtypes[self._graph.matrix_input]
            return {self._graph.matrix_input: np.ascontiguousarray(_numbers(frame, dtype))}
        return {column.name: self._column(column, frame) for column in self._columns}

    def memory(self) -> None:
        """It has no process of its own."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Answer:
        """Predict; raises Invalid when the graph refuses the rows."""
        try:
            found: Any = self.session.run(self._outputs, dict(feeds))
        except Exception as error:  # ONNX Runtime's errors have no common class of their own
            raise Invalid(f"the graph refuses these rows: {str(error)[:300]}") from error
        scores = np.asarray(found[0], dtype=np.float64)
        rows = len(next(iter(feeds.values())))
        if not self._classes:
            return Answer(scores=scores.reshape(rows))
        if scores.shape != (rows, len(self._classes)):
            raise Invalid(f"the graph gives scores of shape {scores.shape} for {len(self._classes)} classes")
        picked = class_indexes(np.asarray(found[1]).ravel(), self._classes) if len(found) > 1 else scores.argmax(axis=1)
        return Answer(scores=scores, picked=picked)

    def answer(self, frame: DataFrame) -> Answer:
        """`feeds`, then `run`."""
        return self.run(self.feeds(frame))

    def _column(self, column: Column, frame: DataFrame) -> NDArray[Any]:
        dtype = self._dtypes[column.name]
        series: Any = frame[column.name]
        if column.kind is Kind.TEXT:
            # The gateway sends an empty text where a caller sends null.
            return np.array(["" if value is None else value for value in series], dtype=object).reshape(-1, 1)
        numbers = series.to_numpy(dtype=np.float64) if dtype != np.int64 else series.to_numpy()
        if dtype not in (np.float32, np.float64) and numbers.dtype.kind == "f" and np.isnan(numbers).any():
            raise Invalid(f"column {column.name!r} has gaps, and the graph takes whole numbers there")
        with np.errstate(over="ignore"):
            return numbers.astype(dtype).reshape(-1, 1)


def session(data: bytes) -> Any:
    """An ONNX Runtime session with one thread; raises NotServable when the graph cannot be loaded."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        raise NotServable(f"ONNX Runtime cannot load the graph: {str(error)[:300]}") from error


def load_graph(manifest: Manifest, blobs: Blobs) -> GraphRunner:
    """The graph of a package.

    Raises:
        NotServable: it has none, or it cannot be loaded.
        CorruptArtifact: its blob is not what the manifest says.
    """
    graph = manifest.graph
    if graph is None:
        raise NotServable(f"the model was not compiled: {manifest.not_compiled}")
    if graph.path not in manifest.files:
        raise CorruptArtifact(f"the package has no file {graph.path!r}")
    data = blobs.get(manifest.files[graph.path].digest)
    return GraphRunner(data, graph, manifest.signature, manifest.classes)


def width(signature: Signature) -> int:
    """Numbers in a row of the matrix layout."""
    return sum(math.prod(column.shape) for column in signature.inputs)


def _numbers(frame: DataFrame, dtype: Any) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return frame.to_numpy(dtype=np.float64).astype(dtype)
