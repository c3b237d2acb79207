"""Models that answer in the python lane: opened in their own environment, asked about real rows, and described."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.answers import Answer
from lockgate.adapters.packages.mlmodel import MLModel
from lockgate.adapters.packages.runners import Session
from lockgate.base.errors import Invalid, NotServable
from lockgate.domain.registry.manifest import Column, Kind, Output, beyond_tables

#: Rows of one call.
_CALL_ROWS = 2_000
#: Most rows that a package is proved on, and seconds that this may take.
_PROOF_ROWS, _PROOF_SECONDS = 20_000, 60.0
_OTHER = "other:"
_DATATYPES = {"b": "BOOL", "f4": "FP32", "f8": "FP64", "i4": "INT32", "i8": "INT64", "O": "BYTES"}
#: How files end that hold a model and no code, by flavor.
_PLAIN = {
    "catboost": ((".cb", ".cbm", ".json"), "catboost"),
    "lightgbm": ((".lgb", ".txt"), "lightgbm-text"),
    "onnx": ((".onnx",), "onnx"),
    "sklearn": ((".skops",), "skops"),
    "xgboost": ((".json", ".ubj"), "xgboost"),
}
_NEUTRAL = {Kind.NUMBER: 0.5, Kind.INTEGER: 1, Kind.BOOLEAN: False}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a model turned out to be when it was asked about rows."""

    task: str
    classes: tuple[str, ...]
    #: Named outputs of a model whose task is "other"; empty for the others, whose outputs are always the same.
    outputs: tuple[Output, ...]
    #: The rows that it was asked about, and its answer to them; None when there were no real rows.
    rows: DataFrame | None
    answer: Answer | None


class PythonModel:
    """One opened model, asked as `GraphRunner` asks a graph."""

    def __init__(self, session: Session, task: str, classes: tuple[str, ...]) -> None:
        self._session = session
        self._task = task
        self._classes = classes

    def feeds(self, frame: DataFrame) -> dict[str, Any]:
        """Rows as they travel."""
        return self._session.rows(frame)

    def run(self, feeds: dict[str, Any]) -> Answer:
        """Predict; raises Invalid when the model refuses the rows, or answers in another form than its package says."""
        found = self._session.answer(feeds)
        if self._task == "other":
            rows = len(next(iter(feeds.values())))
            return Answer(scores=np.empty((rows, 0)))
        scores, picked = found.get("scores"), found.get("picked")
        if scores is None or (picked is None) is (self._task == "classification"):
            raise Invalid(f"the model answers with {', '.join(found)}, and not as a {self._task}")
        if picked is None:
            return Answer(scores=scores.reshape(len(scores)))
        return Answer(scores=scores, picked=picked.astype(np.int64))

    def answer(self, frame: DataFrame) -> Answer:
        """`feeds`, then `run`, some rows at a time."""
        parts = [self.run(self.feeds(part)) for part in _parts(frame)]
        picked = [part.picked for part in parts if part.picked is not None]
        return Answer(
            scores=np.concatenate([part.scores for part in parts]), picked=np.concatenate(picked) if picked else None
        )

    def memory(self) -> int:
        """Bytes that its process holds."""
        return self._session.memory()

    def close(self) -> None:
        """End its process."""
        self._session.close()


def serialization_of(described: MLModel) -> str:
    """How the original is stored; "python" for whatever is code by nature."""
    function = described.flavors.get("python_function", {})
    loader = str(function.get("loader_module", ""))
    flavor = flavor_of(described)
    if function.get("code") or loader != f"mlflow.{flavor}":
        return "python"
    entry = described.flavors.get(flavor, {})
    name = str(entry.get("pickled_model") or entry.get("data") or "")
    endings, plain = _PLAIN.get(flavor, ((), ""))
    if endings and name.endswith(endings):
        return plain
    return "pickle" if flavor in ("sklearn", "lightgbm") else "python"


def flavor_of(described: MLModel) -> str:
    """The flavor that made the model: the one that its loader belongs to."""
    loader = str(described.flavors.get("python_function", {}).get("loader_module", ""))
    name = loader.removeprefix("mlflow.")
    return name if name in described.flavors else "python_function"


def show(session: Session, inputs: tuple[Column, ...], frames: Sequence[DataFrame]) -> Shown:
    """Ask a model about real rows, and say what it is.

    Args:
        session: the model, opened.
        inputs: what it takes.
        frames: tables of its inputs; the first one's answers are what live ones are compared with.

    Raises:
        Invalid: it refuses rows that it is meant to answer.
        NotServable: it answers in no form that can be served, or needs data to show what it answers.
    """
    said = session.model
    task, classes = str(said["task"]), tuple(map(str, said["classes"]))
    try:
        if beyond_tables(inputs):
            found = session.answer(_neutral_tensors(inputs))
        else:
            found = session.answer(session.rows(frames[0].head(_CALL_ROWS) if frames else _neutral(inputs)))
    except Invalid as error:
        if frames:
            raise
        raise NotServable(
            f"it cannot be seen what the model answers: {error.message}", hint="name holdout or training data"
        ) from error
    outputs: tuple[Output, ...] = ()
    if not task:
        task = "regression" if "scores" in found else "other"
    if task == "other":
        outputs = tuple(_output(name.removeprefix(_OTHER), values) for name, values in found.items())
    model = PythonModel(session, task, classes)
    if not frames:
        return Shown(task=task, classes=classes, outputs=outputs, rows=None, answer=None)
    rows, answer = _proved(model, frames)
    return Shown(task=task, classes=classes, outputs=outputs, rows=rows, answer=answer)


def _proved(model: PythonModel, frames: Sequence[DataFrame]) -> tuple[DataFrame, Answer]:
    """The rows of the first table that were asked about, and the answer; other tables are asked about, too."""
    ends = time.monotonic() + _PROOF_SECONDS
    for frame in frames[1:]:
        model.answer(frame.head(_CALL_ROWS))
    asked: list[DataFrame] = []
    answers: list[Answer] = []
    for part in _parts(frames[0].head(_PROOF_ROWS)):
        asked.append(part)
        answers.append(model.answer(part))
        if time.monotonic() > ends:
            break
    picked = [answer.picked for answer in answers if answer.picked is not None]
    scores = np.concatenate([answer.scores for answer in answers])
    whole = Answer(scores=scores, picked=np.concatenate(picked) if picked else None)
    return pd.concat(asked, ignore_index=True), whole


def _output(name: str, values: NDArray[Any]) -> Output:
    kind = values.dtype.str[1:] if values.dtype.kind not in "bO" else values.dtype.kind
    datatype = _DATATYPES.get(kind, "FP64" if values.dtype.kind == "f" else "INT64")
    return Output(name=name, datatype=datatype, shape=tuple(int(size) for size in values.shape[1:]))


def _parts(frame: DataFrame) -> list[DataFrame]:
    return [frame.iloc[at : at + _CALL_ROWS] for at in range(0, max(len(frame), 1), _CALL_ROWS)]


def _neutral(inputs: tuple[Column, ...]) -> DataFrame:
    if inputs[0].shape:
        return pd.DataFrame(np.full((1, inputs[0].shape[0]), 0.5))
    return pd.DataFrame({column.name: [_neutral_value(column)] for column in inputs})


def _neutral_tensors(inputs: tuple[Column, ...]) -> dict[str, NDArray[Any]]:
    """One row of every tensor, as `rows` of a session would give it."""
    dtypes = {Kind.NUMBER: np.float64, Kind.INTEGER: np.int64, Kind.BOOLEAN: np.bool_, Kind.TEXT: np.object_}
    return {
        column.name: np.full((1, *(column.shape or (1,))), _neutral_value(column), dtype=dtypes[column.kind])
        for column in inputs
    }


def _neutral_value(column: Column) -> Any:
    if column.kind is Kind.TEXT:
        return (column.categories or ("",))[0]
    return _NEUTRAL[column.kind] if column.low is None else column.low
