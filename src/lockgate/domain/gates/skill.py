"""How much better than a guess predictions are, and whether that is clearly less than a plain model reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lockgate.domain.monitoring.components import Floats

#: Resamples behind each statement.
DRAWS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Labels and what a model says of the same rows."""

    #: Classification: index of the class. Regression: the value. Shape (rows,).
    labels: NDArray[np.float64]
    #: Predicted class or value, shape (rows,).
    predicted: Floats
    #: Probabilities, shape (rows, classes); None for a regression.
    scores: Floats | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One way to see how good predictions are."""

    name: str
    #: Words for a person: what is counted.
    words: str
    #: Share of the reference's skill that has to be reached.
    share: float
    #: Loss of weighted rows: 0 is perfect, 1 is a guess. NaN where the rows cannot tell.
    loss: Callable[[Answered, Floats], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Skill:
    """What was found by one measure: 1 is perfect, 0 is a guess, below is worse than one."""

    measure: Measure
    own: float
    reference: float
    #: Highest that the candidate's skill less its demand can be, at the chance asked for.
    best_case: float

    @property
    def demanded(self) -> float:
        return max(self.measure.share * self.reference, 0.0)

    @property
    def lacking(self) -> bool:
        """Whether it is surely less than demanded."""
        return self.best_case < 0


def compare(candidate: Answered, reference: Answered, rng: np.random.Generator, *, alpha: float) -> tuple[Skill, ...]:
    """The skill of both on the same rows, by each measure that suits the task; chance is shared out over them.

    Args:
        alpha: chance that a candidate which has all that is demanded is called lacking by any of them.
    """
    measures = REGRESSION if candidate.scores is None else CLASSIFICATION
    found: list[Skill] = []
    weights = rng.multinomial(len(candidate.labels), np.full(len(candidate.labels), 1 / len(candidate.labels)), DRAWS)
    whole = np.ones(len(candidate.labels))
    for measure in measures:
        own, beside = 1 - measure.loss(candidate, whole), 1 - measure.loss(reference, whole)
        if not (np.isfinite(own) and np.isfinite(beside)):
            continue
        over = np.array([_over(measure, candidate, reference, draw.astype(np.float64)) for draw in weights])
        over = over[np.isfinite(over)]
        if len(over) < DRAWS / 2:
            continue
        found.append(
            Skill(
                measure=measure,
                own=own,
                reference=beside,
                best_case=_upper(own - max(measure.share * beside, 0.0), over, alpha / len(measures)),
            )
        )
    return tuple(found)


def _over(measure: Measure, candidate: Answered, reference: Answered, weights: Floats) -> float:
    own, beside = 1 - measure.loss(candidate, weights), 1 - measure.loss(reference, weights)
    return own - max(measure.share * beside, 0.0)


def _upper(value: float, drawn: Floats, alpha: float) -> float:
    # Fewer draws than 1/alpha cannot show the quantile: a normal tail stands in for it.
    return value + NormalDist().inv_cdf(1 - alpha) * float(np.std(drawn, ddof=1))


def _ranking(answered: Answered, weights: Floats) -> float:
    """Twice one minus the area under the ROC curve, the mean over the classes."""
    scores = answered.scores
    if scores is None:
        return np.nan
    classes = range(1, 2) if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [_area(answered.labels == index, scores[:, index], weights) for index in classes]
    known = [area for area in areas if np.isfinite(area)]
    return 2 * (1 - float(np.mean(known))) if known else np.nan


def _area(hits: NDArray[np.bool_], scores: Floats, weights: Floats) -> float:
    order = np.argsort(scores, kind="stable")
    sorted_scores, good, bad = scores[order], (weights * hits)[order], (weights * ~hits)[order]
    total = good.sum() * bad.sum()
    if total <= 0:
        return np.nan
    # Rows of equal score share the middle of their places.
    first = np.flatnonzero(np.concatenate([[True], sorted_scores[1:] != sorted_scores[:-1]]))
    good, bad = np.add.reduceat(good, first), np.add.reduceat(bad, first)
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / total)


def _recalls(answered: Answered, weights: Floats) -> float:
    """One minus the mean recall of the classes, over what a guess reaches."""
    present = np.unique(answered.labels)
    if len(present) < 2:
        return np.nan
    recalls: list[float] = []
    for index in present:
        rows = answered.labels == index
        mass = weights[rows].sum()
        if mass > 0:
            recalls.append(float(weights[rows & (answered.predicted == index)].sum() / mass))
    return (1 - float(np.mean(recalls))) / (1 - 1 / len(present)) if len(recalls) > 1 else np.nan


def _absolute(answered: Answered, weights: Floats) -> float:
    """Mean absolute error over that of the median."""
    order = np.argsort(answered.labels, kind="stable")
    middle = answered.labels[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)]
    guess = float(weights @ np.abs(answered.labels - middle))
    return float(weights @ np.abs(answered.labels - answered.predicted)) / guess if guess > 0 else np.nan


def _squared(answered: Answered, weights: Floats) -> float:
    """Mean squared error over that of the mean: one minus R²."""
    mean = weights @ answered.labels / weights.sum()
    guess = float(weights @ (answered.labels - mean) ** 2)
    return float(weights @ (answered.labels - answered.predicted) ** 2) / guess if guess > 0 else np.nan


#: A model that ranks well need not pick well at its threshold: the threshold is the team's choice, so less is asked.
CLASSIFICATION = (
    Measure(name="ranking", words="order of the rows (ROC AUC)", share=0.6, loss=_ranking),
    Measure(name="labels", words="predicted classes (mean recall)", share=0.4, loss=_recalls),
)
REGRESSION = (
    Measure(name="squared", words="squared error (R²)", share=0.6, loss=_squared),
    Measure(name="absolute", words="absolute error", share=0.5, loss=_absolute),
)
