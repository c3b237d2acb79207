"""Logged rows in the columns of the prediction table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from lockgate.domain.monitoring.logged import LoggedRows, Values

SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("endpoint", pa.string()),
        ("date", pa.date32()),
        ("version", pa.string()),
        ("generation", pa.int64()),
        ("role", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("score", pa.float64()),
        ("predicted", pa.string()),
        #: A JSON object; columns of its own would tie all models to one list of features. Null where the payload is not
        #: in the sample that is kept.
        ("inputs", pa.string()),
        #: The same of what was answered beside score and label; null where there is nothing.
        ("outputs", pa.string()),
    ]
)
#: Rows that are turned into text at a time: it takes several times the room of what it is made of.
_CHUNK = 1024
_DAY = 86_400_000_000


def as_table(several: Iterable[LoggedRows]) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """The rows of all, one after the other."""
    return pa.Table.from_batches([batch for rows in several for batch in _batches(rows)], SCHEMA)


def _batches(rows: LoggedRows) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType]
    for start in range(0, len(rows.prediction_ids), _CHUNK):
        part = slice(start, start + _CHUNK)
        ids, at = rows.prediction_ids[part], rows.at_us[part]
        columns = [
            ids,
            pa.repeat(rows.endpoint, len(ids)),
            (at // _DAY).astype("datetime64[D]"),
            pa.repeat(rows.version, len(ids)),
            pa.repeat(pa.scalar(rows.generation, pa.int64()), len(ids)),
            pa.repeat(rows.role, len(ids)),
            at.astype("datetime64[us]"),
            pa.nulls(len(ids)) if rows.score is None else rows.score[part],
            pa.nulls(len(ids)) if rows.predicted is None else rows.predicted[part],
            _objects(rows.inputs, part, len(ids)),
            _objects(rows.outputs, part, len(ids)),
        ]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _objects(columns: Mapping[str, Values] | None, part: slice, rows: int) -> list[bytes] | pa.Array:  # pyright: ignore[reportUnknownParameterType]
    """A JSON object of each row."""
    if columns is None:
        return pa.nulls(rows)
    # Whole columns become text, and a row's is put together from them: many times quicker than row by row.
    members = [
        orjson.dumps(name).replace(b"%", b"%%") + (b":null" if values is None else b":%b")
        for name, values in columns.items()
    ]
    form = b"{" + b",".join(members) + b"}"
    texts = [_texts(values[part]) for values in columns.values() if values is not None]
    if not texts:
        return [form % ()] * rows
    return [form % row for row in zip(*texts, strict=True)]


def _texts(values: Any) -> list[bytes]:
    """The JSON of each value; of a number that is none, null."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f":
            # As Python writes them, whatever they were held in.
            values = values.astype(np.float64)
        values = np.ascontiguousarray(values)
        if values.ndim == 1:
            return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    return [orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) for value in values]
