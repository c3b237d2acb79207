"""What a model is given: the columns of a frame as the array or the DataFrame that it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frames import MATRIX

_TYPES: dict[str, Any] = {
    "FP64": np.float64,
    "FP32": np.float32,
    "FP16": np.float32,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT16": np.int16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


class Column:
    """One input, as the package's manifest has it."""

    def __init__(self, *, name: str, datatype: str, shape: list[int], optional: bool) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = tuple(shape)
        self.optional = optional

    def typed(self, values: Any) -> Any:
        """In the type that the signature names; shape (rows,) for a scalar, (rows, *shape) for a tensor."""
        rows = len(values)
        values = values.reshape((rows, *self.shape))
        wanted = _TYPES.get(self.datatype)
        if wanted is None:
            return self._texts(values) if self.optional else values
        if values.dtype == wanted:
            return values
        # Nothing but a float holds a gap.
        if values.dtype.kind == "f" and np.dtype(wanted).kind != "f" and np.isnan(values).any():
            return values
        return values.astype(wanted)

    @staticmethod
    def _texts(values: Any) -> Any:
        # A missing text travels as an empty one.
        found = values.copy()
        found[found == ""] = None
        return found


def matrix(given: dict[str, Any], columns: list[Column]) -> Any:
    """All numbers side by side, shape (rows, width)."""
    if MATRIX in given:
        return given[MATRIX]
    parts = [column.typed(given[column.name]) for column in columns]
    return np.column_stack(parts) if len(parts) > 1 or parts[0].ndim == 1 else parts[0]


def table(given: dict[str, Any], columns: list[Column]) -> Any:
    """A pandas DataFrame with the names of the signature."""
    import pandas

    if MATRIX in given:
        block = given[MATRIX]
        types = {column.datatype for column in columns}
        if len(types) == 1 and block.dtype == _TYPES.get(next(iter(types))):
            return pandas.DataFrame(block, columns=[column.name for column in columns], copy=False)
        given = {column.name: block[:, at] for at, column in enumerate(columns)}
    found: dict[str, Any] = {}
    for column in columns:
        values = column.typed(given[column.name])
        # As objects, which every encoder takes; pandas would make a type of its own of them.
        found[column.name] = pandas.Series(values, dtype=object) if values.dtype.kind == "O" else values
    return pandas.DataFrame(found, copy=False)


def arrays(given: dict[str, Any], columns: list[Column]) -> dict[str, Any]:
    """Name -> array of shape (rows, *shape), as MLflow gives several tensors to a model."""
    return {column.name: column.typed(given[column.name]) for column in columns}


def takes_several(columns: list[Column]) -> bool:
    """Whether the model takes tensors by name."""
    return len(columns) > 1 and any(column.shape for column in columns)


def is_tensor(columns: list[Column]) -> bool:
    """Whether the model takes one array rather than columns with names."""
    return len(columns) == 1 and bool(columns[0].shape)
