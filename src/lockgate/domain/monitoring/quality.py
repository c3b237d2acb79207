"""How well predictions meet their labels, held against a limit; used by gates and by the watch."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.metrics import METRICS
from lockgate.domain.monitoring.outcomes import Metric, Outcomes

#: Samples of a bootstrap interval.
BOOTSTRAPS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure with its two-sided interval."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """A figure held against its limit."""

    metric: str
    verdict: Verdict
    sentence: str
    limit: float
    #: None where nothing could be measured.
    estimate: Estimate | None = None


def estimate(
    metric: Metric, outcomes: Outcomes, rng: np.random.Generator, *, confidence: float = 0.95
) -> Estimate | None:
    """The figure and its two-sided interval; None where the rows cannot tell.

    Raises:
        Invalid: the metric needs scores and there are none, or arrays of different lengths.
    """
    _check(metric, outcomes)
    value = metric.measure(outcomes) if len(outcomes) else nan
    if not isfinite(value):
        return None
    found = metric.interval(outcomes, confidence) if metric.interval else None
    low, high = found or _bootstrap(metric, rng, outcomes, confidence)
    return Estimate(value=value, low=min(low, value), high=max(high, value), rows=len(outcomes))


def assess(
    metric: Metric,
    outcomes: Outcomes,
    limit: float,
    rng: np.random.Generator,
    *,
    least_rows: int = 50,
    confidence: float = 0.95,
) -> Assessment:
    """Hold a figure against its limit: a floor, or a ceiling where lower is better.

    It passes when the figure itself is good enough, and fails when even the better end of its interval, one-sided at
    ``confidence``, is not. In between, with too few rows, or where nothing can be measured, it is unknown.
    """
    if len(outcomes) < least_rows:
        sentence = f"{metric.name} is unknown: {len(outcomes):,} labelled rows, {least_rows:,} are needed"
        return Assessment(metric=metric.name, verdict=Verdict.UNKNOWN, sentence=sentence, limit=limit)
    found = estimate(metric, outcomes, rng, confidence=2 * confidence - 1)
    if found is None:
        sentence = f"{metric.name} is unknown: {len(outcomes):,} labelled rows do not tell, all may be of one class"
        return Assessment(metric=metric.name, verdict=Verdict.UNKNOWN, sentence=sentence, limit=limit)
    up = metric.higher_is_better
    good = found.value >= limit if up else found.value <= limit
    hopeless = found.high < limit if up else found.low > limit
    what = f"{metric.name} is {found.value:.4g} ({found.low:.4g} to {found.high:.4g}) on {found.rows:,} rows"
    bound = f"{'at least' if up else 'at most'} {limit:.4g} is asked for"
    if good:
        verdict, sentence = Verdict.PASS, f"{what}; {bound}"
    elif hopeless:
        verdict, sentence = Verdict.FAIL, f"{what}; {bound}"
    else:
        verdict, sentence = Verdict.UNKNOWN, f"{what}; {bound}, and the miss could be chance"
    return Assessment(metric=metric.name, verdict=verdict, sentence=sentence, limit=limit, estimate=found)


def metric_named(name: str) -> Metric:
    """A metric of the registry; raises Invalid with the names there are."""
    found = METRICS.get(name)
    if found is None:
        raise Invalid(f"there is no metric {name!r}", hint="one of: " + ", ".join(METRICS))
    return found


def _check(metric: Metric, outcomes: Outcomes) -> None:
    lengths = {len(outcomes.labels), len(outcomes.predicted)}
    lengths |= set() if outcomes.scores is None else {len(outcomes.scores)}
    if len(lengths) > 1:
        raise Invalid("labels, predictions and scores differ in length")
    if metric.needs_score and (outcomes.scores is None or outcomes.positive is None):
        raise Invalid(f"{metric.name} needs a score for one positive class", hint="use accuracy or f1 instead")


def _bootstrap(metric: Metric, rng: np.random.Generator, outcomes: Outcomes, confidence: float) -> tuple[float, float]:
    rows = len(outcomes)
    drawn = np.array([metric.measure(outcomes.take(rng.integers(0, rows, rows))) for _ in range(BOOTSTRAPS)])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return -np.inf, np.inf
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
