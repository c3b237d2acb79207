"""In which form a model's inputs travel: as one matrix where that loses nothing, else a column each."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockgate.adapters.python_runner.program.frames import MATRIX
from lockgate.domain.registry.manifest import Column, Kind, beyond_tables

_FLOATS: dict[str, Any] = {"FP64": np.float64, "FP32": np.float32}


def matrix_type(columns: tuple[Column, ...], *, takes_array: bool) -> Any:
    """The type of the one matrix that holds all columns; None where each has to travel by itself.

    Args:
        columns: the signature's inputs.
        takes_array: whether the model takes numbers side by side, whatever their columns are.
    """
    if beyond_tables(columns):
        return None
    datatypes = {column.datatype for column in columns}
    numbers = all(column.kind is Kind.NUMBER and len(column.shape) < 2 for column in columns)
    if numbers and len(datatypes) == 1:
        return _FLOATS.get(datatypes.pop())
    if takes_array and all(column.kind is not Kind.TEXT and not column.shape for column in columns):
        # What such a model makes of columns of several types, too.
        return np.float64
    return None


def as_columns(frame: Any, columns: tuple[Column, ...], dtype: Any) -> dict[str, Any]:
    """Rows of a DataFrame as they travel; ``dtype``: what `matrix_type` gave."""
    if dtype is not None:
        return {MATRIX: np.ascontiguousarray(frame.to_numpy(dtype=dtype))}
    if columns[0].shape:
        return {columns[0].name: np.ascontiguousarray(frame.to_numpy()).reshape(len(frame), *columns[0].shape)}
    found: dict[str, Any] = {}
    for column in columns:
        series = frame[column.name]
        if column.kind is Kind.TEXT:
            # The gateway sends an empty text where a caller sends null.
            texts = np.empty(len(series), dtype=object)
            texts[:] = ["" if value is None else value for value in series]
            found[column.name] = texts
        else:
            found[column.name] = series.to_numpy()
    return found
