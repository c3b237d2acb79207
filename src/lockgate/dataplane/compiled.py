"""The compiled lane: one package's ONNX graph in this process, proved by a self-inference before it counts as ready."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from lockgate.base.errors import CorruptArtifact, NotServable
from lockgate.dataplane.intake import Inputs, Intake
from lockgate.domain.monitoring.baseline import Baseline, build, class_slots, decode, leading_score
from lockgate.domain.registry.manifest import Column, Graph, Kind, Manifest, Output
from lockgate.ports import Blobs

#: Batch sizes whose answers are compared with each row's own at load.
_PROBED = (2, 3, 8, 17)
_TIMED_ROWS = 64


@dataclass(slots=True)
class Answer:
    """What a graph gave for some rows."""

    #: [rows, classes], or [rows, 1] for a regression.
    scores: NDArray[Any]
    #: One a row; None for a regression.
    labels: list[Any] | None

    def cut(self, start: int, stop: int) -> Answer:
        """The answer to the rows from ``start`` up to ``stop``."""
        return Answer(self.scores[start:stop], None if self.labels is None else self.labels[start:stop])

    def sound(self) -> bool:
        """Whether every score is a number."""
        return bool(np.isfinite(self.scores).all())


@dataclass(frozen=True, slots=True)
class Served:
    """One output, and the JSON around its values."""

    output: Output
    #: It holds the labels rather than the scores.
    labels: bool
    head: bytes
    middle: bytes

    @classmethod
    def of(cls, output: Output, *, classifies: bool) -> Served:
        """Ready to be written."""
        name, datatype = msgspec.json.encode(output.name), msgspec.json.encode(output.datatype)
        return cls(
            output=output,
            labels=classifies and output.name == "label",
            head=b'{"name":%b,"shape":[' % name,
            middle=b'],"datatype":%b,"data":' % datatype,
        )


class Compiled:
    """One loaded package. Safe to call from several threads."""

    def __init__(self, manifest: Manifest, graph: Graph, baseline: Baseline, session: Any) -> None:
        self.manifest = manifest
        self.baseline = baseline
        self.intake = Intake(manifest.signature, graph, {given.name: given.type for given in session.get_inputs()})
        self._run = session.run
        self._outputs = [name for name in (graph.score_output, graph.label_output) if name]
        self._has_label = bool(graph.label_output)
        self._names = self.intake.names
        self.served = tuple(Served.of(output, classifies=self._has_label) for output in manifest.signature.outputs)
        slots = class_slots(manifest.classes)
        self._positive = slots.get(manifest.positive) if manifest.positive is not None else None
        #: Whether every row is answered alike, bit for bit, alone and among others; else requests are never joined.
        self.joins = False
        #: Measured at load, seconds: of a call, and of each row more.
        self.call_cost = 0.0
        self.row_cost = 0.0

    def predict(self, inputs: Inputs) -> Answer:
        """Run the graph; raises what ONNX Runtime raises when the graph cannot take these values."""
        found = self._run(self._outputs, dict(zip(self._names, inputs, strict=True)))
        scores: NDArray[Any] = found[0]
        if scores.ndim != 2:
            scores = scores.reshape(len(inputs[0]), -1)
        return Answer(scores, found[1].tolist() if self._has_label else None)

    def leading(self, answer: Answer) -> NDArray[Any]:
        """The one score a row that monitoring watches."""
        if not self.manifest.classes:
            return answer.scores[:, 0]
        return leading_score(answer.scores, self._positive)

    def cost(self, rows: int) -> float:
        """Seconds that a call of so many rows is expected to take."""
        return self.call_cost + self.row_cost * rows

    def prove(self) -> None:
        """Answer a neutral row, and learn what joining requests does and costs.

        Raises:
            NotServable: the graph fails on it or on several rows, or answers with something that is no number.
        """
        try:
            neutral = self.predict(neutral_rows(self.intake, 1))
        except Exception as error:  # ONNX Runtime's errors have no common class of their own
            raise NotServable(f"the graph of {self.manifest.model} fails on a neutral row: {error}") from error
        if not neutral.sound() or len(neutral.scores) != 1:
            raise NotServable(f"the graph of {self.manifest.model} answers a neutral row with no number")
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


def load(digest: str, blobs: Blobs) -> Compiled:
    """Load a package and prove that it answers. Slow: call it in a thread.

    Raises:
        NotFound: a blob is missing.
        CorruptArtifact: a blob is not what its digest says, or no manifest.
        NotServable: the package has no graph, or the graph does not answer.
    """
    try:
        manifest = msgspec.json.decode(blobs.get(digest), type=Manifest)
    except msgspec.MsgspecError as error:
        raise CorruptArtifact(f"the blob {digest} is no manifest: {error}") from error
    graph = manifest.graph
    if graph is None or graph.path not in manifest.files:
        raise NotServable(f"{manifest.model} has no compiled graph: {manifest.not_compiled}")
    if manifest.baseline is None:
        baseline = build({}, manifest.signature, classes=manifest.classes)
    else:
        baseline = decode(blobs.get(manifest.baseline))
    path = blobs.path(manifest.files[graph.path].digest)
    try:
        session = ort.InferenceSession(str(path), _session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        raise NotServable(f"ONNX Runtime cannot load the graph of {manifest.model}: {error}") from error
    compiled = Compiled(manifest, graph, baseline, session)
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


def join(parts: list[Inputs]) -> Inputs:
    """The rows of several requests under one another."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    """The rows from ``start`` up to ``stop``."""
    return tuple(array[start:stop] for array in inputs)


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
