"""What was asked and answered, as the log has it: many rows at once, by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: One value a row: numbers of shape (rows,), tensors of (rows, ...), or anything else in a list. None where every value
#: is missing. A NaN is a missing value.
Values = NDArray[Any] | list[Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRows:
    """Rows that one version answered in one role."""

    #: One a row, and of each row its own.
    prediction_ids: list[str]
    endpoint: str
    version: str
    generation: int
    role: str
    #: Microseconds since 1970, shape (rows,).
    at_us: NDArray[np.int64]
    #: Shape (rows,); None where the model gives no scores.
    score: NDArray[np.float64] | None
    #: One a row; None where the model gives no labels.
    predicted: list[str] | None
    #: By column; None for a personal one, which is kept out. None as a whole where the payload is not in the sample
    #: that is kept.
    inputs: Mapping[str, Values] | None
    #: What was answered beside score and label, by output; None where there is nothing, or it is not in the sample.
    outputs: Mapping[str, Values] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedSegment:
    """All that could be read of one segment of the log."""

    rows: tuple[LoggedRows, ...]
    #: What could not be read of it; empty when it is whole.
    damage: str = ""
