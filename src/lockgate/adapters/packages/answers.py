"""What a model says about some rows, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Predictions for rows."""

    #: Classification: probabilities, shape (rows, classes). Regression: predictions, shape (rows,).
    scores: Floats
    #: Index of the predicted class, shape (rows,); None for a regression.
    picked: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)


def class_name(value: Any) -> str:
    """One spelling for a class, however it is stored: ``1``, ``1.0`` and ``True`` are all ``1``."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def class_indexes(values: Any, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of each value among the classes, -1 for one that is none of them or is missing; shape (rows,)."""
    places = {name: index for index, name in enumerate(classes)}
    return np.array([places.get(class_name(value), -1) for value in np.asarray(values).tolist()], dtype=np.int64)
