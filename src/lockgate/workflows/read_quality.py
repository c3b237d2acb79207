"""How well the live version's predictions met their labels, over time."""

from __future__ import annotations

from collections.abc import Sequence

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
    joined = labels.joined(endpoint, first, last, version.id)
    outcomes = outcomes_of(joined, version.manifest)
    # Resampling needs chance; always the same, so that looking twice shows the same figures.
    rng = np.random.default_rng(0)
    verdict, sentence, found = _held(metric, outcomes, watch, rng)
    made = np.array([label.minute for label in joined], dtype=np.int64)
    points: list[QualityPoint] = []
    for start in range(first, last, span):
        inside = outcomes.take((made >= start) & (made < start + span))
        value = metric.measure(inside) if len(inside) >= LEAST_IN_SPAN else float("nan")
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


def outcomes_of(joined: Sequence[Label], manifest: Manifest) -> Outcomes:
    """Labels and the predictions they belong to, as arrays; labels that are no number are no truth of a regression."""
    if manifest.task == "regression":
        pairs = [(_number(label.value), label.score) for label in joined]
        truth = np.array([np.nan if value is None else value for value, _ in pairs], dtype=np.float64)
        given = np.array([np.nan if score is None else score for _, score in pairs], dtype=np.float64)
        return Outcomes(labels=truth, predicted=given)
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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
