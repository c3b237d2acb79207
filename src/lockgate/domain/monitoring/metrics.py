"""The measures of quality there are, by the names people know from scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan, sqrt
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.domain.monitoring import special
from lockgate.domain.monitoring.components import Floats
from lockgate.domain.monitoring.outcomes import Metric, Outcomes
from lockgate.domain.monitoring.shares import wilson

#: Scores are kept so far from 0 and 1 before a logarithm.
_TINY = 1e-15


def delong(outcomes: Outcomes) -> tuple[float, float]:
    """Area under the ROC curve and its standard error (DeLong and others 1988, by midranks as Sun and Xu 2014).

    NaN with one class only.
    """
    hits = outcomes.labels == outcomes.positive
    scores = _scores(outcomes)
    good, bad = scores[hits], scores[~hits]
    if not len(good) or not len(bad):
        return nan, nan
    everyone = _midranks(np.concatenate([good, bad]))
    above = (everyone[: len(good)] - _midranks(good)) / len(bad)
    below = 1 - (everyone[len(good) :] - _midranks(bad)) / len(good)
    spread = sum(float(np.var(part, ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    return float(above.mean()), sqrt(spread)


def _auc_interval(outcomes: Outcomes, confidence: float) -> tuple[float, float]:
    value, error = delong(outcomes)
    hits = int(np.count_nonzero(outcomes.labels == outcomes.positive))
    fewer = min(hits, len(outcomes) - hits)
    if error == 0.0 or not 0.0 < value < 1.0:
        # A perfect order shows no spread: take the rarer class for a row of coins.
        return wilson(value * fewer, fewer, confidence)
    # On the logit scale the interval stays between 0 and 1.
    half = special.ndtri(0.5 + confidence / 2) * error / (value * (1 - value))
    middle = special.logit(value)
    return float(special.expit(middle - half)), float(special.expit(middle + half))


def _roc_auc(outcomes: Outcomes) -> float:
    return delong(outcomes)[0]


def _average_precision(outcomes: Outcomes) -> float:
    hits, scores = outcomes.labels == outcomes.positive, _scores(outcomes)
    if not hits.any():
        return nan
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order])
    # Rows of equal score come in together: only the last of them counts.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    recall = found[last] / found[-1]
    return float(np.diff(recall, prepend=0.0) @ (found[last] / (last + 1)))


def _accuracy(outcomes: Outcomes) -> tuple[int, int]:
    return int(np.count_nonzero(outcomes.labels == outcomes.predicted)), len(outcomes)


def _precision(outcomes: Outcomes, positive: Any) -> tuple[int, int]:
    said = outcomes.predicted == positive
    return int(np.count_nonzero(said & (outcomes.labels == positive))), int(np.count_nonzero(said))


def _recall(outcomes: Outcomes, positive: Any) -> tuple[int, int]:
    is_so = outcomes.labels == positive
    return int(np.count_nonzero(is_so & (outcomes.predicted == positive))), int(np.count_nonzero(is_so))


def _f1(outcomes: Outcomes, positive: Any) -> float:
    hits, said = _precision(outcomes, positive)
    _, so = _recall(outcomes, positive)
    return 2 * hits / (said + so) if said + so else 0.0


def _each_class(outcomes: Outcomes, of: Callable[[Outcomes, Any], float]) -> float:
    """The mean over the classes, or the positive one's own."""
    if outcomes.positive is not None:
        return of(outcomes, outcomes.positive)
    classes = set(outcomes.labels.tolist()) | set(outcomes.predicted.tolist())
    return float(np.mean([of(outcomes, name) for name in classes]))


def _share_metric(name: str, count: Callable[[Outcomes, Any], tuple[int, int]]) -> Metric:
    """A share of rows about one class. Where no row counts, it is 0, as in scikit-learn."""

    def share(outcomes: Outcomes, positive: Any) -> float:
        hits, rows = count(outcomes, positive)
        return hits / rows if rows else 0.0

    def interval(outcomes: Outcomes, confidence: float) -> tuple[float, float] | None:
        return None if outcomes.positive is None else wilson(*count(outcomes, outcomes.positive), confidence)

    return Metric(name=name, measure=lambda outcomes: _each_class(outcomes, share), interval=interval)


def _mean_metric(
    name: str, losses: Callable[[Outcomes], Floats], *, root: bool = False, needs_score: bool = False
) -> Metric:
    """The mean of a loss a row, or its root; the interval is that of a mean."""

    def measure(outcomes: Outcomes) -> float:
        mean = float(np.mean(losses(outcomes)))
        return sqrt(mean) if root else mean

    def interval(outcomes: Outcomes, confidence: float) -> tuple[float, float] | None:
        values = losses(outcomes)
        if len(values) < 2:
            return None
        half = float(special.ndtri(0.5 + confidence / 2) * np.std(values, ddof=1) / sqrt(len(values)))
        low, high = max(float(values.mean()) - half, 0.0), float(values.mean()) + half
        return (sqrt(low), sqrt(high)) if root else (low, high)

    return Metric(
        name=name,
        measure=measure,
        higher_is_better=False,
        needs_score=needs_score,
        regression=not needs_score,
        interval=interval,
    )


def _brier(outcomes: Outcomes) -> Floats:
    return (_scores(outcomes) - (outcomes.labels == outcomes.positive)) ** 2


def _log_loss(outcomes: Outcomes) -> Floats:
    scores = np.clip(_scores(outcomes), _TINY, 1 - _TINY)
    return -np.log(np.where(outcomes.labels == outcomes.positive, scores, 1 - scores))


def _residuals(outcomes: Outcomes) -> Floats:
    return outcomes.predicted.astype(np.float64) - outcomes.labels.astype(np.float64)


def _r2(outcomes: Outcomes) -> float:
    labels = outcomes.labels.astype(np.float64)
    spread = float(((labels - labels.mean()) ** 2).sum())
    return 1 - float((_residuals(outcomes) ** 2).sum()) / spread if spread > 0 else nan


def _scores(outcomes: Outcomes) -> Floats:
    return np.zeros(0) if outcomes.scores is None else outcomes.scores.astype(np.float64)


def _midranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1, equal values sharing the middle of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


_ALL = (
    Metric(name="roc_auc", measure=_roc_auc, needs_score=True, interval=_auc_interval),
    Metric(name="average_precision", measure=_average_precision, needs_score=True),
    Metric(
        name="accuracy",
        measure=lambda outcomes: _accuracy(outcomes)[0] / len(outcomes),
        interval=lambda outcomes, confidence: wilson(*_accuracy(outcomes), confidence),
    ),
    _share_metric("precision", _precision),
    _share_metric("recall", _recall),
    Metric(name="f1", measure=lambda outcomes: _each_class(outcomes, _f1)),
    _mean_metric("brier", _brier, needs_score=True),
    _mean_metric("log_loss", _log_loss, needs_score=True),
    _mean_metric("mae", lambda outcomes: np.abs(_residuals(outcomes))),
    _mean_metric("rmse", lambda outcomes: _residuals(outcomes) ** 2, root=True),
    Metric(name="r2", measure=_r2, regression=True),
)

#: Every metric by its name.
METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
