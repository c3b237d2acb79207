"""From the frames of a segment to rows, one after the other: slow, and plain enough to be believed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from lockgate.adapters.segments.frames import Batch, Other, Record, Schema, code_type
from tests.logged import EPOCH, Row


def rows_in(entries: Iterable[Schema | Record | Batch]) -> Iterator[Row]:
    """All rows, in order."""
    schemas: dict[str, Schema] = {}
    for entry in entries:
        if isinstance(entry, Schema):
            schemas[entry.version] = entry
        else:
            yield from _rows(schemas[entry.version], entry)


def _rows(schema: Schema, entry: Record | Batch) -> Iterator[Row]:
    names = _row_ids(entry)
    inputs = _inputs(schema, entry, len(names))
    scores: list[list[float]] = np.frombuffer(entry.scores, schema.score_dtype).reshape(len(names), -1).tolist()
    labels = _labels(schema, entry)
    outputs = _outputs(entry, len(names))
    for row, name in enumerate(names):
        yield Row(
            prediction_id=name,
            endpoint=entry.endpoint,
            version=entry.version,
            generation=entry.generation,
            role=entry.role,
            at=EPOCH + timedelta(microseconds=entry.time_us),
            score=_score(schema, scores[row]),
            predicted=None if labels is None else labels[row],
            inputs=None if inputs is None else inputs[row],
            outputs=None if outputs is None else outputs[row],
        )


def _row_ids(entry: Record | Batch) -> list[str]:
    """A request's only row has its id; the rows of others are ``id.0``, ``id.1``, …"""
    if isinstance(entry, Record):
        ids, counts = [entry.prediction_id], [entry.rows]
    elif not entry.counts:
        return entry.prediction_ids
    else:
        ids, counts = entry.prediction_ids, entry.counts
    return [id if count == 1 else f"{id}.{row}" for id, count in zip(ids, counts, strict=True) for row in range(count)]


def _score(schema: Schema, scores: list[float]) -> float | None:
    """The positive class's score, the largest where no class is positive, or a regression's number."""
    if not scores:
        return None
    if schema.positive in schema.classes and len(scores) == len(schema.classes):
        return scores[schema.classes.index(schema.positive)]
    return max(scores)


def _labels(schema: Schema, entry: Record | Batch) -> list[str] | None:
    labels = entry.labels
    if isinstance(labels, bytes):
        return [schema.classes[code] for code in np.frombuffer(labels, code_type(len(schema.classes))).tolist()]
    return labels


def _inputs(schema: Schema, entry: Record | Batch, rows: int) -> list[dict[str, Any]] | None:
    """Row by row; a missing number, and what is withheld, is None. None where the payload was not kept."""
    held = entry.inputs
    if held is None:
        return None
    if isinstance(held, bytes):
        columns = _of_matrix(schema, held, rows)
    elif isinstance(entry, Record):
        columns = [_present(column) for column in held]
    else:
        columns = [
            _per_row(_array(column, dtype), rows, width)
            for column, dtype, width in zip(held, schema.dtypes, schema.widths, strict=True)
        ]
    names = (*schema.names, *schema.withheld)
    blank = [None] * rows
    columns += [blank] * len(schema.withheld)
    if not columns:
        return [{} for _ in range(rows)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _of_matrix(schema: Schema, held: bytes, rows: int) -> list[list[Any]]:
    matrix = np.frombuffer(held, schema.dtype).reshape(rows, sum(schema.widths))
    columns: list[list[Any]] = []
    at = 0
    for width in schema.widths:
        columns.append(_per_row(matrix[:, at : at + width], rows, width))
        at += width
    return columns


def _outputs(entry: Record | Batch, rows: int) -> list[dict[str, Any]] | None:
    """Row by row, what was answered beside score and label."""
    if isinstance(entry, Record) or not entry.others:
        return None
    columns = [_of_output(other, rows) for other in entry.others]
    return [
        {other.name: values[row] for other, values in zip(entry.others, columns, strict=True)} for row in range(rows)
    ]


def _of_output(other: Other, rows: int) -> list[Any]:
    return _array(other.values, other.dtype).reshape(rows, *other.shape).tolist()


def _array(values: Any, dtype: str) -> Any:
    return np.frombuffer(values, dtype) if dtype else np.array(values, dtype=np.object_)


def _per_row(array: Any, rows: int, width: int) -> list[Any]:
    """One value a row, or the flat list of a tensor."""
    if width == 1:
        return _present(array.reshape(rows).tolist())
    return [_present(flat) for flat in array.reshape(rows, width).tolist()]


def _present(values: Sequence[Any]) -> list[Any]:
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]
