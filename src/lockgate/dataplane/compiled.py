"""The compiled lane: one package's ONNX graph in this process, proved by a self-inference before it counts as ready."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as ort

from lockgate.base.errors import NotServable
from lockgate.dataplane.intake import Inputs, Intake
from lockgate.dataplane.lane import Answer, Lane, baseline_of, cut
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.registry.manifest import Column, Graph, Kind, Manifest
from lockgate.ports import Blobs

#: Batch sizes whose answers are compared with each row's own at load.
_PROBED = (2, 3, 8, 17)
_TIMED_ROWS = 64


class Compiled(Lane):
    """A package whose graph runs in this process."""

    platform = "onnxruntime"

    def __init__(self, manifest: Manifest, graph: Graph, baseline: Baseline, session: Any) -> None:
        types = {given.name: given.type for given in session.get_inputs()}
        super().__init__(manifest, baseline, Intake.of_graph(manifest.signature, graph, types))
        self._run = session.run
        self._outputs = [name for name in (graph.score_output, graph.label_output) if name]
        self._has_label = bool(graph.label_output)
        self._names = self.intake.names

    def predict(self, inputs: Inputs) -> Answer:
        """Run the graph; raises what ONNX Runtime raises when the graph cannot take these values."""
        found = self._run(self._outputs, dict(zip(self._names, inputs, strict=True)))
        scores: Any = found[0]
        if scores.ndim != 2:
            scores = scores.reshape(len(inputs[0]), -1)
        return Answer(scores, found[1].tolist() if self._has_label else None)

    def close(self) -> None:
        """Nothing to let go but memory."""

    def check(self) -> None:
        """Answer a neutral row; raises NotServable when the graph fails on it, or answers with no number."""
        try:
            neutral = self.predict(neutral_rows(self.intake, 1))
        except Exception as error:  # ONNX Runtime's errors have no common class of their own
            raise NotServable(f"the graph of {self.manifest.model} fails on a neutral row: {error}") from error
        if not neutral.sound() or len(neutral.scores) != 1:
            raise NotServable(f"the graph of {self.manifest.model} answers a neutral row with no number")

    def prove(self) -> None:
        """Answer a neutral row, and learn what joining requests does and costs.

        Raises:
            NotServable: the graph fails on it or on several rows, or answers with something that is no number.
        """
        self.check()
        rows = neutral_rows(self.intake, max(_PROBED), np.random.default_rng(7))
        try:
            self.joins = self._answers_alike(rows)
            self._measure()
        except Exception as error:  # as above
            raise NotServable(f"the graph of {self.manifest.model} fails on several rows: {error}") from error

    def _answers_alike(self, rows: Inputs) -> bool:
        alone = [self.predict(cut(rows, row, row + 1)) for row in range(max(_PROBED))]
        for size in _PROBED:
            together = self.predict(cut(rows, 0, size))
            for row in range(size):
                one = together.cut(row, row + 1)
                if one.scores.tobytes() != alone[row].scores.tobytes() or one.labels != alone[row].labels:
                    return False
        return True

    def _measure(self) -> None:
        one = neutral_rows(self.intake, 1)
        many = neutral_rows(self.intake, _TIMED_ROWS, np.random.default_rng(8))
        single = min(self._timed(one) for _ in range(5))
        block = min(self._timed(many) for _ in range(3))
        self.row_cost = max(0.0, (block - single) / (_TIMED_ROWS - 1))
        self.call_cost = max(0.0, single - self.row_cost)

    def _timed(self, inputs: Inputs) -> float:
        start = time.perf_counter()
        self.predict(inputs)
        return time.perf_counter() - start


def load(manifest: Manifest, blobs: Blobs) -> Compiled:
    """Load a package's graph and prove that it answers. Slow: call it in a thread.

    Raises:
        NotFound: a blob is missing.
        CorruptArtifact: a blob is not what its digest says.
        NotServable: the package has no graph, or the graph does not answer.
    """
    graph = manifest.graph
    if graph is None or graph.path not in manifest.files:
        raise NotServable(f"{manifest.model} has no compiled graph: {manifest.not_compiled}")
    path = blobs.path(manifest.files[graph.path].digest)
    try:
        session = ort.InferenceSession(str(path), _session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        raise NotServable(f"ONNX Runtime cannot load the graph of {manifest.model}: {error}") from error
    compiled = Compiled(manifest, graph, baseline_of(manifest, blobs), session)
    compiled.prove()
    return compiled


def _session_options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A gateway has one process a core: a thread that waits by spinning takes a core from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def neutral_rows(intake: Intake, rows: int, chance: np.random.Generator | None = None) -> Inputs:
    """Rows within what training held: the middle of each range, or anywhere in it by chance."""
    given = {
        column.name: _neutral(column, rows * width, chance)
        for column, width in zip(intake.columns, intake.widths, strict=True)
    }
    return intake.from_columns(given, rows)


def _neutral(column: Column, count: int, chance: np.random.Generator | None) -> list[Any]:
    if column.kind is Kind.TEXT:
        texts = column.categories or ("",)
        return [texts[int(chance.integers(len(texts)))] if chance else texts[0] for _ in range(count)]
    if column.kind is Kind.BOOLEAN:
        return [bool(chance.integers(2)) if chance else False for _ in range(count)]
    low = 0.0 if column.low is None else column.low
    high = (low + 1.0) if column.high is None else column.high
    share = [float(chance.random()) if chance else 0.5 for _ in range(count)]
    found = [low * (1 - part) + high * part for part in share]
    return [round(value) for value in found] if column.kind is Kind.INTEGER else found
