"""How well the live version's predictions met their labels, over time."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from lockgate.base.verdict import Verdict
from lockgate.base.window import start_of_minute
from lockgate.domain.gates.config import AUTO, QualityWatch
from lockgate.domain.monitoring.outcomes import Metric, Outcomes
from lockgate.domain.monitoring.picture import QualityPicture, QualityPoint
from lockgate.domain.monitoring.quality import Estimate, assess, estimate, metric_named
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.records import Version
from lockgate.ports import Label, Labels

#: Fewest labelled rows before a figure is shown, where the file beside the model names none.
LEAST_ROWS = 50
#: Fewest in one span of the picture; the verdict is on all spans together.
LEAST_IN_SPAN = 20


def read_quality(
    labels: Labels, endpoint: str, version: Version, watch: QualityWatch | None, minutes: tuple[int, int], span: int
) -> QualityPicture | None:
    """Labelled quality of predictions made in ``minutes`` (first, and the one behind the last), in spans of ``span``
    minutes; None for a version that was never packaged."""
    if version.manifest is None:
        return None
    metric = metric_for(version.manifest, watch)
    first, last = minutes
    joined = comparable(metric, version.manifest, labels.joined(endpoint, first, last, version.id))
    outcomes = outcomes_of(joined, version.manifest)
    # Resampling needs chance; always the same, so that looking twice shows the same figures.
    rng = np.random.default_rng(0)
    unfit = misfit(metric, version.manifest)
    verdict, sentence, found = (Verdict.UNKNOWN, unfit, None) if unfit else _held(metric, outcomes, watch, rng)
    made = np.array([label.minute for label in joined], dtype=np.int64)
    points: list[QualityPoint] = []
    for start in range(first, last, span):
        inside = outcomes.take((made >= start) & (made < start + span))
        value = metric.measure(inside) if len(inside) >= LEAST_IN_SPAN and not unfit else float("nan")
        point = QualityPoint(at=start_of_minute(start), rows=len(inside), value=value if np.isfinite(value) else None)
        points.append(point)
    return QualityPicture(
        version=version.id,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        at_least=watch.at_least if watch else None,
        at_most=watch.at_most if watch else None,
        verdict=verdict,
        sentence=sentence,
        rows=len(outcomes),
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        points=tuple(points),
    )


def metric_for(manifest: Manifest, watch: QualityWatch | None) -> Metric:
    """The metric that the file beside the model names, or the one that suits the task."""
    if watch is not None and watch.metric != AUTO:
        return metric_named(watch.metric)
    if manifest.task == "regression":
        return metric_named("mae")
    return metric_named("accuracy" if manifest.positive is None else "roc_auc")


def misfit(metric: Metric, manifest: Manifest) -> str:
    """Why the metric cannot be measured on this model's answers, or nothing."""
    if metric.regression is not (manifest.task == "regression"):
        return f"{metric.name} is unknown: it does not suit a {manifest.task}"
    if metric.needs_score and manifest.positive is None:
        return f"{metric.name} is unknown: it needs a score for one positive class"
    return ""


def comparable(metric: Metric, manifest: Manifest, joined: Sequence[Label]) -> list[Label]:
    """Those labels that can be held against their predictions. One that cannot, such as a text where a number is
    predicted, would make the figure of all the others unknown."""
    if manifest.task == "regression":
        return [label for label in joined if _number(label.value) is not None and _finite(label.score)]
    return [label for label in joined if _finite(label.score)] if metric.needs_score else list(joined)


def outcomes_of(joined: Sequence[Label], manifest: Manifest) -> Outcomes:
    """Labels that are `comparable`, and the predictions they belong to, as arrays."""
    if manifest.task == "regression":
        truth = np.array([float(label.value) for label in joined], dtype=np.float64)
        return Outcomes(labels=truth, predicted=np.array([label.score for label in joined], dtype=np.float64))
    scores = np.array([np.nan if label.score is None else label.score for label in joined], dtype=np.float64)
    return Outcomes(
        labels=np.array([label.value for label in joined], dtype=object),
        predicted=np.array([label.predicted or "" for label in joined], dtype=object),
        scores=None if manifest.positive is None else scores,
        positive=manifest.positive,
    )


def _held(
    metric: Metric, outcomes: Outcomes, watch: QualityWatch | None, rng: np.random.Generator
) -> tuple[Verdict, str, Estimate | None]:
    least = watch.least_rows if watch and watch.least_rows else LEAST_ROWS
    limit = None if watch is None else (watch.at_least if watch.at_least is not None else watch.at_most)
    if limit is not None:
        found = assess(metric, outcomes, limit, rng, least_rows=least)
        return found.verdict, found.sentence, found.estimate
    if len(outcomes) < least:
        return Verdict.UNKNOWN, f"{metric.name} is unknown: {len(outcomes):,} labels, {least:,} are needed", None
    seen = estimate(metric, outcomes, rng)
    if seen is None:
        return Verdict.UNKNOWN, f"{metric.name} is unknown: all labels may be of one class", None
    sentence = f"{metric.name} is {seen.value:.4g} on {seen.rows:,} labels; lockgate.yaml asks for no floor"
    return Verdict.UNKNOWN, sentence, seen


def _finite(number: float | None) -> bool:
    return number is not None and isfinite(number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
