"""What answers requests: one loaded package, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lockgate.dataplane.intake import Inputs, Intake
from lockgate.domain.monitoring.baseline import Baseline, build, class_slots, decode, leading_score
from lockgate.domain.registry.manifest import Manifest, Output
from lockgate.ports import Blobs


@dataclass(slots=True)
class Answer:
    """What a model gave for some rows."""

    #: [rows, classes], or [rows, 1] for a regression; [rows, 0] where the model gives neither.
    scores: NDArray[Any]
    #: One a row; None where the model gives no labels.
    labels: list[Any] | None
    #: What else it gave: output name -> [rows, ...] of numbers, or of str.
    others: dict[str, NDArray[Any]] = field(default_factory=dict)

    def cut(self, start: int, stop: int) -> Answer:
        """The answer to the rows from ``start`` up to ``stop``."""
        return Answer(
            self.scores[start:stop],
            None if self.labels is None else self.labels[start:stop],
            {name: values[start:stop] for name, values in self.others.items()} if self.others else self.others,
        )

    def sound(self) -> bool:
        """Whether every number of it is finite."""
        if self.others and not all(_finite(values) for values in self.others.values()):
            return False
        return _finite(self.scores)


def _finite(values: NDArray[Any]) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


@dataclass(frozen=True, slots=True)
class Served:
    """One output, and the JSON around its values."""

    output: Output
    #: It holds the labels rather than the scores.
    labels: bool
    #: Under which name `Answer.others` has it; empty for labels and scores.
    other: str
    head: bytes
    middle: bytes

    @classmethod
    def of(cls, output: Output, task: str) -> Served:
        """Ready to be written."""
        name, datatype = msgspec.json.encode(output.name), msgspec.json.encode(output.datatype)
        return cls(
            output=output,
            labels=task == "classification" and output.name == "label",
            other="" if task in ("classification", "regression") else output.name,
            head=b'{"name":%b,"shape":[' % name,
            middle=b'],"datatype":%b,"data":' % datatype,
        )


class Lane(ABC):
    """One loaded package. `predict` of a local one may be called from several threads at once."""

    #: Whether `predict` computes here; else `ask` goes to another process, and `predict` is never called.
    local = True
    #: Calls of `ask` that may be under way at once.
    slots = 1
    #: Whether others use what answers too, so that it has to be found out how many calls at once it stands.
    shared = False
    #: Processes that had to be replaced, and calls that had to be asked again; for /metrics.
    restarts = 0
    retries = 0
    #: What answers, as ``platform`` of the metadata names it.
    platform = ""

    def __init__(self, manifest: Manifest, baseline: Baseline, intake: Intake) -> None:
        self.manifest = manifest
        self.baseline = baseline
        self.intake = intake
        self.serving = manifest.serving
        #: Whether an answer waits for its record to be on the disk.
        self.durable = manifest.serving.log == "durable"
        self.served = tuple(Served.of(output, manifest.task) for output in manifest.signature.outputs)
        slots = class_slots(manifest.classes)
        self._positive = slots.get(manifest.positive) if manifest.positive is not None else None
        sizes = zip(intake.columns, intake.widths, strict=True)
        elements = [(column.name, at) for column, width in sizes for at in range(width)]
        features = [(feature.column, feature.element) for feature in baseline.features]
        #: Whether profiles count the model's one matrix as it is.
        self._whole = intake.plain and features == elements
        #: Where requests wait for it, once there was one: the plane's.
        self.queue: Any = None
        #: Whether rows of several requests may share a call.
        self.joins = False
        #: Measured at load, seconds: of a call, and of each row more.
        self.call_cost = 0.0
        self.row_cost = 0.0

    def cost(self, rows: int) -> float:
        """Seconds that a call of so many rows is expected to take."""
        return self.call_cost + self.row_cost * rows

    def leading(self, answer: Answer) -> NDArray[Any]:
        """The one score a row that monitoring watches; NaN where there is none, shape (rows,)."""
        if answer.scores.shape[1] == 0:
            return np.full(len(answer.scores), np.nan)
        if not self.manifest.classes:
            return answer.scores[:, 0]
        return leading_score(answer.scores, self._positive)

    def counted(self, inputs: Inputs) -> dict[str, NDArray[Any]] | NDArray[Any]:
        """The values as profiles count them: by column, or all at once where they are nothing but numbers."""
        return inputs[0] if self._whole else self.intake.watched(inputs)

    @abstractmethod
    def check(self) -> None:
        """Prove that it answers: readiness rests on it. Slow, for any thread; raises NotServable."""

    def predict(self, inputs: Inputs) -> Answer:
        """Answer rows here; raises whatever the runtime raises for values that the model cannot take."""
        raise TypeError(f"{type(self).__name__} answers by ask")

    async def ask(self, inputs: Inputs, deadline: float | None) -> Answer:
        """Answer rows elsewhere, by ``deadline`` (monotonic seconds).

        Raises:
            Refused: 503 when it cannot answer just now, 504 when the deadline passed, 422 when the model cannot take
                these values.
        """
        raise TypeError(f"{type(self).__name__} answers by predict")

    async def ask_once(self, inputs: Inputs, deadline: float | None) -> Answer:
        """As `ask`, but whoever calls asks again himself when a process ended meanwhile (code ``process_ended``)."""
        return await self.ask(inputs, deadline)

    @abstractmethod
    def close(self) -> None:
        """Let go what it holds; nothing is under way any more."""


def baseline_of(manifest: Manifest, blobs: Blobs) -> Baseline:
    """The package's own, or an empty one where it was packaged without data."""
    if manifest.baseline is None:
        return build({}, manifest.signature, classes=manifest.classes)
    return decode(blobs.get(manifest.baseline))


def join(parts: list[Inputs]) -> Inputs:
    """The rows of several requests under one another."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def cut(inputs: Inputs, start: int, stop: int) -> Inputs:
    """The rows from ``start`` up to ``stop``."""
    return tuple(array[start:stop] for array in inputs)
