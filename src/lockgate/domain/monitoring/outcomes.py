"""Labelled predictions, and what a measure of them is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lockgate.domain.monitoring.components import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """Predictions with their labels, row by row; every array has shape (rows,)."""

    labels: NDArray[Any]
    #: Predicted classes, or a regression's predictions.
    predicted: NDArray[Any]
    #: Probability of the positive class; None where there is none.
    scores: Floats | None = None
    #: The class that counts as a hit; None for regression and for more than two classes, whose figures are means over
    #: the classes.
    positive: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Outcomes:
        """Some of the rows, by position or by mask."""
        scores = None if self.scores is None else self.scores[rows]
        return Outcomes(labels=self.labels[rows], predicted=self.predicted[rows], scores=scores, positive=self.positive)


#: The interval of a figure at a confidence; None where this one has no closed form on these rows.
Interval = Callable[[Outcomes, float], tuple[float, float] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One measure of quality."""

    name: str
    #: The figure; NaN where the rows cannot tell, for example with one class only.
    measure: Callable[[Outcomes], float]
    higher_is_better: bool = True
    needs_score: bool = False
    regression: bool = False
    #: A closed form; resampling gives the interval where there is none.
    interval: Interval | None = None
