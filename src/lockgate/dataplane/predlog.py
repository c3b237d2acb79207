"""Turns answered requests into records of the segment log."""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from lockgate.adapters.segments.frames import Record, Schema
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.routing import LiveTarget


class PredictionLog:
    """Where answers are written down before they leave."""

    def __init__(self, writer: SegmentWriter) -> None:
        self.writer = writer
        # Not to keep a package loaded that no route needs any more.
        self._schemas: dict[str, tuple[ref[Lane], Schema]] = {}

    def append(
        self, target: LiveTarget, prediction_id: str, role: str, time_us: int, inputs: Inputs, answer: Answer
    ) -> None:
        """Put one answered request into the next flush."""
        matrix = target.lane.intake.matrix
        record = Record(
            prediction_id,
            time_us,
            target.endpoint,
            target.version,
            target.generation,
            role,
            len(answer.scores),
            inputs[0].tobytes() if matrix else [_plain(array) for array in inputs],
            answer.scores.tobytes(),
            None if answer.labels is None else [str(label) for label in answer.labels],
        )
        self.writer.append(self._schema(target.version, target.lane, answer), record)

    def _schema(self, version: str, lane: Lane, answer: Answer) -> Schema:
        known = self._schemas.get(version)
        if known is not None and known[0]() is lane:
            return known[1]
        intake, manifest = lane.intake, lane.manifest
        schema = Schema(
            version=version,
            layout="matrix" if intake.matrix else "columns",
            dtype=np.dtype(intake.dtypes[0]).str if intake.matrix else "",
            names=tuple(column.name for column in intake.columns),
            widths=intake.widths,
            score_dtype=answer.scores.dtype.str,
            classes=manifest.classes,
            positive=manifest.positive,
        )
        self._schemas[version] = (ref(lane), schema)
        return schema


def _plain(array: Any) -> list[Any]:
    """One value a row: a scalar, or the flat list of a tensor."""
    if array.shape[1:] == (1,):
        return array[:, 0].tolist()
    return array.reshape(len(array), -1).tolist()
