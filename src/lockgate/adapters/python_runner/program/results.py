"""What a model gave, as named arrays."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

SCORES, PICKED = "scores", "picked"
#: Before the name of an output that is neither.
OTHER = "other:"
#: Name of an output whose author gave it none.
_UNNAMED = "output"
#: Types of pandas' values for what is missing.
_MISSING = ("NAType", "NaTType")


def named(result: Any, rows: int, *, label: str = "") -> dict[str, Any]:
    """A result as arrays of ``rows`` rows: one number a row is the scores, all else goes by its name.

    Args:
        result: an array, a DataFrame, a Series, a list, a dict of such, or a tensor.
        rows: how many rows were asked about.
        label: name of a single output that is a class, not a number.

    Raises:
        ValueError: it has another number of rows, or values of no kind that can be sent.
    """
    if hasattr(result, "columns") and hasattr(result, "to_numpy"):
        result = {str(name): result[name] for name in result.columns}
    if isinstance(result, dict):
        arrays = {str(name): _array(values, rows) for name, values in result.items()}
        if len(arrays) != 1:
            return {OTHER + name: array for name, array in arrays.items()}
        name, array = arrays.popitem()
    else:
        name, array = "", _array(result, rows)
    if not label and array.dtype.kind in "iuf" and array.size == rows:
        return {SCORES: array.reshape(rows, 1).astype(np.float64)}
    return {OTHER + (label or name or _UNNAMED): array}


def labels_of(values: Any) -> tuple[str, ...]:
    """Names of classes: ``1``, ``1.0`` and ``True`` are all ``1``."""
    return tuple(map(_label, np.asarray(values).tolist()))


def _label(value: Any) -> str:
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def _array(values: Any, rows: int) -> Any:
    if hasattr(values, "toarray"):
        values = values.toarray()
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = _plain(values)
    if array.ndim == 0 and rows == 1:
        array = array.reshape(1)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(f"the model gave {len(array) if array.ndim else 'one value'} for {rows} rows")
    if array.dtype.kind in "biuf":
        return array.astype(np.float64) if array.dtype.itemsize > 8 else array
    texts = np.empty(array.shape, dtype=object)
    flat = texts.reshape(-1)
    for place, value in enumerate(array.ravel().tolist()):
        flat[place] = _text(value)
    return texts


def _plain(values: Any) -> Any:
    try:
        array = np.asarray(values)
        if array.dtype.kind != "O" or not len(array) or isinstance(array.flat[0], str):
            return array
    except ValueError:  # lists of different lengths
        array = None
    if array is not None:
        try:
            # Numbers in a column of objects, as pandas may hold them.
            return array.astype(np.float64) if not any(isinstance(value, str) for value in array.flat) else array
        except (TypeError, ValueError):
            return array
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        found[place] = value
    return found


def _text(value: Any) -> str:
    """Text as it is, and what is none as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in _MISSING:
        return ""
    return json.dumps(value, default=str)
