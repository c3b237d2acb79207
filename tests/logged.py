"""Rows of the prediction log one by one, as tests like to look at them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.adapters.segments.store import SegmentFolder
from lockgate.domain.monitoring.logged import LoggedRows, Values

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was asked and answered in one row; a missing value is None."""

    prediction_id: str
    endpoint: str
    version: str
    generation: int
    role: str
    at: datetime
    score: float | None
    predicted: str | None
    inputs: dict[str, Any] | None
    outputs: dict[str, Any] | None = None


def logged_in(folder: Path) -> list[Row]:
    """All rows of the sealed segments under a folder."""
    store = SegmentFolder(folder)
    return [row for _, _, path in store.sealed() for row in rows_of(store.read(path).rows)]


def rows_of(several: Iterable[LoggedRows]) -> Iterator[Row]:
    """Row by row."""
    for rows in several:
        for at, prediction_id in enumerate(rows.prediction_ids):
            yield Row(
                prediction_id=prediction_id,
                endpoint=rows.endpoint,
                version=rows.version,
                generation=rows.generation,
                role=rows.role,
                at=EPOCH + timedelta(microseconds=int(rows.at_us[at])),
                score=None if rows.score is None else float(rows.score[at]),
                predicted=None if rows.predicted is None else rows.predicted[at],
                inputs=_values(rows.inputs, at),
                outputs=_values(rows.outputs, at),
            )


def by_column(rows: Iterable[Row]) -> list[LoggedRows]:
    """As the log gives them, each by itself."""
    return [
        LoggedRows(
            prediction_ids=[row.prediction_id],
            endpoint=row.endpoint,
            version=row.version,
            generation=row.generation,
            role=row.role,
            at_us=np.array([(row.at - EPOCH) // timedelta(microseconds=1)], np.int64),
            score=None if row.score is None else np.array([row.score]),
            predicted=None if row.predicted is None else [row.predicted],
            inputs=None if row.inputs is None else {name: [value] for name, value in row.inputs.items()},
            outputs=None if row.outputs is None else {name: [value] for name, value in row.outputs.items()},
        )
        for row in rows
    ]


def _values(columns: Mapping[str, Values] | None, at: int) -> dict[str, Any] | None:
    return None if columns is None else {name: _value(values, at) for name, values in columns.items()}


def _value(values: Values, at: int) -> Any:
    if values is None:
        return None
    found = values[at]
    return _present(found.tolist() if isinstance(found, (np.ndarray, np.generic)) else found)


def _present(value: Any) -> Any:
    if isinstance(value, list):
        return [_present(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and math.isnan(value) else value
