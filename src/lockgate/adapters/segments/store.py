"""Reads what gateways logged: finds sealed segments, adopts those of dead writers, gives predictions back."""

from __future__ import annotations

import fcntl
import logging
import math
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.adapters.segments.frames import MAGIC, Record, Scan, Schema
from lockgate.base.errors import CorruptArtifact
from lockgate.ports import Prediction

_log = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SegmentFolder:
    """The `SegmentStore` over a folder of sources."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sealed(self) -> list[tuple[str, int, Path]]:
        """Source, sequence and place of each segment that no gateway writes any more, oldest first per source."""
        if not self._root.is_dir():
            return []
        found: list[tuple[str, int, Path]] = []
        for folder in sorted(path for path in self._root.iterdir() if path.is_dir()):
            for leftover in folder.glob("*.open"):
                _adopt(leftover)
            found += [(folder.name, int(path.stem), path) for path in sorted(folder.glob("*.seg"))]
        return found

    def read(self, path: Path) -> Iterable[Prediction]:
        """One prediction per row, in order. What is torn or damaged is left out and told to the log.

        Raises:
            CorruptArtifact: a record has no schema before it, or its values do not fit the schema.
        """
        scan = Scan(path.read_bytes())
        schemas: dict[str, Schema] = {}
        for entry in scan:
            if isinstance(entry, Schema):
                schemas[entry.version] = entry
            elif entry.version in schemas:
                yield from _predictions(schemas[entry.version], entry)
            else:
                raise CorruptArtifact(f"{path.name} has a record of {entry.version} but not its schema")
        if scan.torn or scan.damaged:
            _log.warning("segment %s: %d bytes torn off, %d frames damaged", path, scan.torn, scan.damaged)

    def remove(self, path: Path) -> None:
        """Drop a segment, and its folder when that is empty now."""
        path.unlink(missing_ok=True)
        try:
            path.parent.rmdir()
        except OSError:
            # Not empty: its gateway lives, or has more segments to take. A writer makes its folder anew.
            return

    def set_aside(self, path: Path) -> Path:
        """Keep a segment that cannot be read, under a name that `sealed` passes by."""
        return path.rename(path.with_suffix(".bad"))


def _adopt(path: Path) -> None:
    """Seal a segment whose writer is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_size <= len(MAGIC):
            path.unlink(missing_ok=True)
        else:
            os.fsync(fd)
            path.rename(path.with_suffix(".seg"))
    except (BlockingIOError, FileNotFoundError):
        # Its writer lives, or sealed it between our look and our lock.
        return
    finally:
        os.close(fd)


def _predictions(schema: Schema, record: Record) -> Iterator[Prediction]:
    try:
        inputs = _inputs(schema, record)
        scores = np.frombuffer(record.scores, dtype=schema.score_dtype).reshape(record.rows, -1)
    except ValueError as error:
        raise CorruptArtifact(f"record {record.prediction_id} does not fit its schema: {error}") from error
    at = _EPOCH + timedelta(microseconds=record.time_us)
    for row in range(record.rows):
        yield Prediction(
            prediction_id=record.prediction_id if record.rows == 1 else f"{record.prediction_id}.{row}",
            endpoint=record.endpoint,
            version=record.version,
            generation=record.generation,
            role=record.role,
            at=at,
            score=_score(schema, scores[row].tolist()),
            predicted=record.labels[row] if record.labels is not None else None,
            inputs=dict(zip(schema.names, inputs[row], strict=True)),
        )


def _score(schema: Schema, scores: list[float]) -> float | None:
    """The positive class's score, the largest where no class is positive, or a regression's number."""
    if not scores:
        return None
    if schema.positive in schema.classes and len(scores) == len(schema.classes):
        return scores[schema.classes.index(schema.positive)]
    return max(scores)


def _inputs(schema: Schema, record: Record) -> list[list[Any]]:
    """Row by row, one value a name; a missing number is None."""
    if not isinstance(record.inputs, bytes):
        columns = [[_absent(value) for value in column] for column in record.inputs]
        if len(columns) != len(schema.names) or any(len(column) != record.rows for column in columns):
            raise ValueError("the columns are not those of the schema")
        return [list(row) for row in zip(*columns, strict=True)]
    matrix = np.frombuffer(record.inputs, dtype=schema.dtype).reshape(record.rows, sum(schema.widths))
    rows: list[list[Any]] = []
    for flat in matrix.tolist():
        values = [_absent(value) for value in flat]
        row: list[Any] = []
        at = 0
        for width in schema.widths:
            row.append(values[at] if width == 1 else values[at : at + width])
            at += width
        rows.append(row)
    return rows


def _absent(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
