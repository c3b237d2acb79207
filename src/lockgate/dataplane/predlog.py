"""Turns answered requests into entries of the segment log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.segments.frames import Batch, Other, Schema, code_type
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.events.sink import EventSink
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane
from lockgate.domain.monitoring.sampling import in_sample


class PredictionLog:
    """Where answers are written down before they leave."""

    def __init__(self, writer: SegmentWriter, sink: EventSink | None = None) -> None:
        self.writer = writer
        #: Who else is told of payloads.
        self.sink = sink
        #: Bytes of all workers' logs that wait to be carried away, when they were last measured.
        self.backlog = 0
        #: Parts of them that were found damaged, then.
        self.damaged = 0
        # Not to keep a package loaded that no route needs any more.
        self._forms: dict[str, tuple[ref[Lane], _Form]] = {}

    def append(self, ask: Ask, answer: Answer, now_us: int) -> None:
        """Put one answered request into the next flush."""
        self.append_batch([ask], ask.inputs, answer, now_us)

    def append_batch(self, batch: Sequence[Ask], inputs: Inputs, whole: Answer, now_us: int) -> None:
        """Put requests that one call answered into the next flush; ``inputs`` and ``whole`` hold the rows of all."""
        target = batch[0].target
        form = self._form(target.version, target.lane, whole)
        if form.sample >= 1.0:
            self._write(form, batch, inputs, whole, now_us)
            if self.sink is not None:
                self.sink.take(batch, inputs, whole, now_us)
            return
        drawn = np.array([in_sample(ask.prediction_id, form.sample) for ask in batch])
        rows = np.repeat(drawn, [ask.rows for ask in batch])
        if drawn.any():
            kept = [ask for ask, taken in zip(batch, drawn, strict=True) if taken]
            some, answer = tuple(array[rows] for array in inputs), _taken(whole, rows)
            self._write(form, kept, some, answer, now_us)
            if self.sink is not None:
                self.sink.take(kept, some, answer, now_us)
        if not drawn.all():
            # That they were answered, and with which score and label, is known of all: labels come for them as well.
            rest = [ask for ask, taken in zip(batch, drawn, strict=True) if not taken]
            bare = _taken(whole, ~rows)
            bare.others = {}
            self._write(form, rest, None, bare, now_us)

    def _write(self, form: _Form, batch: Sequence[Ask], inputs: Inputs | None, whole: Answer, now_us: int) -> None:
        first = batch[0]
        target = first.target
        entry = Batch(
            [ask.prediction_id for ask in batch],
            [] if len(batch) == len(whole.scores) else [ask.rows for ask in batch],
            now_us,
            target.endpoint,
            target.version,
            target.generation,
            first.role,
            None if inputs is None else form.inputs(inputs),
            whole.scores.tobytes(),
            None if whole.labels is None else form.labels(whole.labels),
            [_other(name, values) for name, values in whole.others.items()] if whole.others else [],
        )
        self.writer.append(form.schema, entry, len(batch))

    def _form(self, version: str, lane: Lane, answer: Answer) -> _Form:
        known = self._forms.get(version)
        if known is not None and known[0]() is lane and known[1].score_dtype == answer.scores.dtype:
            return known[1]
        form = _Form(version, lane, answer.scores.dtype)
        self._forms = {name: known for name, known in self._forms.items() if known[0]() is not None}
        self._forms[version] = (ref(lane), form)
        return form


class _Form:
    """How one version's values are written."""

    def __init__(self, version: str, lane: Lane, score_dtype: np.dtype[Any]) -> None:
        intake, manifest = lane.intake, lane.manifest
        kept = [place for place, column in enumerate(intake.columns) if not column.personal]
        self.score_dtype = score_dtype
        self.sample = manifest.serving.sample
        self.schema = Schema(
            version=version,
            layout="matrix" if intake.matrix else "columns",
            dtype=np.dtype(intake.dtypes[0]).str if intake.matrix else "",
            names=tuple(intake.columns[place].name for place in kept),
            widths=tuple(intake.widths[place] for place in kept),
            score_dtype=score_dtype.str,
            classes=manifest.classes,
            positive=manifest.positive,
            dtypes=() if intake.matrix else tuple(_type_of(intake.dtypes[place]) for place in kept),
            withheld=tuple(column.name for column in intake.columns if column.personal),
        )
        self._matrix = intake.matrix
        self._all = len(kept) == len(intake.columns)
        self._kept = kept
        starts = np.cumsum((0, *intake.widths))
        #: Of a matrix, the values of the columns that are kept.
        self._places = np.array([at for place in kept for at in range(starts[place], starts[place + 1])], dtype=np.intp)
        self._code_type = code_type(len(manifest.classes))
        self._codes = _Codes(manifest.classes)

    def inputs(self, inputs: Inputs) -> bytes | list[bytes | list[str]]:
        """All rows, without personal columns."""
        if self._matrix:
            return inputs[0].tobytes() if self._all else inputs[0][:, self._places].tobytes()
        arrays = inputs if self._all else [inputs[place] for place in self._kept]
        return [array.ravel().tolist() if array.dtype.kind == "O" else array.tobytes() for array in arrays]

    def labels(self, labels: list[Any]) -> bytes | list[str]:
        """As codes where each is one of the classes."""
        try:
            if self._code_type == "u1":
                return bytes(map(self._codes.__getitem__, labels))
            if self._code_type:
                return np.array([self._codes[label] for label in labels], self._code_type).tobytes()
        except KeyError:
            pass
        return [str(label) for label in labels]


class _Codes(dict[Any, int]):
    """Place of each class; also under what models call it that know it as a number."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__((name, place) for place, name in enumerate(classes))

    def __missing__(self, label: Any) -> int:
        code = self.get(str(label))
        if code is None:
            raise KeyError(label)
        self[label] = code
        return code


def _taken(answer: Answer, rows: NDArray[np.bool_]) -> Answer:
    """The answer to some of the rows."""
    labels = None if answer.labels is None else [answer.labels[row] for row in np.flatnonzero(rows)]
    return Answer(answer.scores[rows], labels, {name: values[rows] for name, values in answer.others.items()})


def _type_of(dtype: Any) -> str:
    found = np.dtype(dtype)
    return "" if found.kind == "O" else found.str


def _other(name: str, values: NDArray[Any]) -> Other:
    if values.dtype.kind == "O":
        return Other(name, "", values.shape[1:], [str(value) for value in values.ravel().tolist()])
    return Other(name, values.dtype.str, values.shape[1:], values.tobytes())
