"""One endpoint from a moment to another: traffic, drift and labelled quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.base.window import minute_of, start_of_minute
from lockgate.domain.gates.config import DriftWatch, ModelConfig
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.drift import check
from lockgate.domain.monitoring.findings import DriftReport, DriftSpec, FeatureDrift
from lockgate.domain.monitoring.picture import (
    DriftCell,
    DriftPicture,
    DriftRow,
    DriftSpan,
    Monitoring,
    TrafficPoint,
)
from lockgate.domain.monitoring.traffic import traffic_of
from lockgate.domain.registry.records import Version
from lockgate.domain.routing.table import Role
from lockgate.ports import ConfigReader, Labels, Store
from lockgate.workflows.count_profiles import Counts, Minute, feature_sum, traffic_sum
from lockgate.workflows.read_quality import read_quality

#: Most spans that a time is cut into, and the longest time that is shown.
MOST_SPANS = 60
DRIFT_SPANS = 24
LONGEST = 31 * 24 * 60
#: Minutes of the newest drift verdict where the file beside the model names none.
DRIFT_WINDOW = 10


def read_monitoring(
    store: Store,
    counts: Counts,
    labels: Labels,
    configs: ConfigReader,
    endpoint_id: str,
    start: datetime,
    end: datetime,
) -> Monitoring:
    """What was counted on an endpoint from ``start`` to ``end``.

    Raises:
        NotFound: no such endpoint.
        Invalid: the time is empty, or longer than a month.
    """
    first, last = minute_of(start), minute_of(end) + 1
    if end <= start or last - first > LONGEST + 1:
        raise Invalid("the time to show is empty or longer than 31 days", hint="give from before to")
    with store.reading() as tx:
        endpoint = tx.get(Endpoint, endpoint_id)
        version = tx.get(Version, endpoint.stable) if endpoint.stable else None
    minutes = counts.minutes(endpoint.id, first, last)
    answered = [each for each in minutes if each.role == Role.LIVE.value]
    span = -(-(last - first) // MOST_SPANS)
    config = _config(configs, version)
    drift = quality = None
    if version is not None and config is not None:
        own = [each for each in answered if each.version == version.id]
        baseline = counts.baseline(version)
        if baseline is not None:
            drift = _drift(version, baseline, own, config.watch.drift, first, last)
        quality = read_quality(
            labels, endpoint.id, version, config.watch.quality, (first, last), -(-(last - first) // DRIFT_SPANS)
        )
    return Monitoring(
        endpoint=endpoint.id,
        start=start,
        end=end,
        span_minutes=span,
        total=traffic_of(traffic_sum(answered)) if answered else None,
        answered=_points(answered, first, span, lambda each: ("", "")),
        by_version=_points(minutes, first, span, lambda each: (each.version, each.role)),
        drift=drift,
        quality=quality,
    )


def drift_spec(watch: DriftWatch) -> DriftSpec:
    """When a change counts, as the file beside the model says."""
    asked = {
        "least_rows": watch.least_rows,
        "least_distance": watch.least_distance,
        "least_shift": watch.least_shift,
        "least_share": watch.least_share,
    }
    return replace(DriftSpec(), **{name: value for name, value in asked.items() if value is not None})


def _config(configs: ConfigReader, version: Version | None) -> ModelConfig | None:
    return configs.read(version.config) if version else None


def _points(
    minutes: Sequence[Minute], first: int, span: int, key: Callable[[Minute], tuple[str, str]]
) -> tuple[TrafficPoint, ...]:
    grouped: dict[tuple[int, str, str], list[Minute]] = {}
    for each in minutes:
        grouped.setdefault(((each.minute - first) // span, *key(each)), []).append(each)
    return tuple(
        TrafficPoint(
            at=start_of_minute(first + place * span),
            version=version,
            role=role,
            traffic=traffic_of(traffic_sum(group)),
        )
        for (place, version, role), group in sorted(grouped.items())
    )


def _drift(
    version: Version, baseline: Baseline, own: Sequence[Minute], watch: DriftWatch, first: int, last: int
) -> DriftPicture:
    spec = drift_spec(watch)
    window = max(1, round((watch.window_seconds or DRIFT_WINDOW * 60) / 60))
    since = max(first, last - window)
    newest = check(feature_sum([each for each in own if each.minute >= since], baseline), spec)
    step = -(-(last - first) // DRIFT_SPANS)
    starts = list(range(first, last, step))
    reports: list[DriftReport] = []
    for start in starts:
        inside = [each for each in own if start <= each.minute < start + step]
        reports.append(check(feature_sum(inside, baseline), spec))
    return DriftPicture(
        version=version.id,
        verdict=newest.verdict,
        sentence=newest.sentence,
        start=start_of_minute(since),
        end=start_of_minute(last),
        rows=newest.rows,
        features=newest.features,
        predictions=newest.predictions,
        spans=tuple(
            DriftSpan(
                start=start_of_minute(start),
                end=start_of_minute(min(start + step, last)),
                rows=report.rows,
                verdict=report.verdict,
                sentence=report.sentence,
            )
            for start, report in zip(starts, reports, strict=True)
        ),
        over_time=_rows(baseline, reports),
    )


def _rows(baseline: Baseline, reports: Sequence[DriftReport]) -> tuple[DriftRow, ...]:
    found = [{item.feature: item for item in report.features + report.predictions} for report in reports]
    inputs = {feature.name for feature in baseline.features}
    return tuple(
        DriftRow(
            feature=feature.name,
            prediction=feature.name not in inputs,
            cells=tuple(_cell(items.get(feature.name), report) for items, report in zip(found, reports, strict=True)),
        )
        for feature in baseline.watched
    )


def _cell(found: FeatureDrift | None, report: DriftReport) -> DriftCell:
    if found is None:
        sentence = report.sentence if report.rows else "nothing was asked"
        return DriftCell(verdict=Verdict.UNKNOWN, distance=None, psi=None, missing_share=None, sentence=sentence)
    return DriftCell(
        verdict=found.verdict,
        distance=round(found.effect.distance, 4) if found.effect else None,
        psi=round(found.effect.psi, 4) if found.effect else None,
        missing_share=found.missing_share,
        sentence=found.sentence,
    )
