"""Look for breaches of a live version: errors, latency, drift, data quality, labelled quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import numpy as np

from lockgate.base.errors import CorruptArtifact, Invalid, NotFound
from lockgate.base.verdict import Verdict
from lockgate.base.window import minute_of
from lockgate.domain.alerting.records import Signal, SignalKind
from lockgate.domain.gates.config import DriftWatch, ModelConfig, SloConfig
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.monitoring.drift import check
from lockgate.domain.monitoring.findings import DriftReport, DriftSpec, DriftTest, FeatureDrift
from lockgate.domain.monitoring.layout import Failure
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.monitoring.quality import assess
from lockgate.domain.monitoring.shares import excess_evidence
from lockgate.domain.registry.records import Version
from lockgate.domain.routing.table import Role
from lockgate.ports import ConfigReader, Labels, Store
from lockgate.workflows.count_profiles import Counts, Minute, feature_sum, traffic_sum
from lockgate.workflows.read_monitoring import drift_spec
from lockgate.workflows.read_quality import comparable, metric_for, misfit, outcomes_of

#: Minutes in which errors and slow answers are counted.
_TRAFFIC_MINUTES = 5
#: Window of the drift check where the file beside the model names none.
_DRIFT_SECONDS = 600.0
#: Share of failed requests that is an alert where no availability is promised.
_ERROR_SHARE = 0.02
#: Share of requests refused for their input that is an alert.
_REFUSED_SHARE = 0.05
#: A breach counts when it is so many times likelier than chance, at whatever moment one looks.
_EVIDENCE = 1000.0
#: A drift check's chance of a false alarm is that of one check. Here it is made every two seconds on a window that
#: moves, and one alarm is enough: over a day that is as many chances as nearly a thousand checks of separate windows.
_LOOKS = 1000.0
#: Newest labelled predictions that quality is measured on, where the file names no number.
LABELLED_ROWS = 500
_MOST_TOLD = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """What is out of bounds, before it is said where and when."""

    kind: SignalKind
    name: str
    sentence: str
    figures: dict[str, Any]


class SignalFinder:
    """Knows what of a live version is out of bounds just now."""

    def __init__(self, store: Store, counts: Counts, labels: Labels, configs: ConfigReader) -> None:
        self._store = store
        self._counts = counts
        self._labels = labels
        self._configs = configs

    def find(self, endpoint: Endpoint, now: datetime) -> tuple[list[Signal], str]:
        """Every breach of the version that serves the endpoint, and why some of it could not be looked at, or "".

        Too little to tell is no breach, and no all-clear.
        """
        if endpoint.stable is None:
            return [], ""
        with self._store.reading() as tx:
            version = tx.get(Version, endpoint.stable)
        config = self._configs.read(version.config)
        found, trouble = list[Breach](), list[str]()
        for look in (
            lambda: self._traffic(endpoint, version, config.slo, now),
            lambda: self._drift(endpoint, version, config.watch.drift, now),
            lambda: self._quality(endpoint, version, config, now),
        ):
            try:
                found += look()
            except (Invalid, CorruptArtifact, NotFound) as error:
                # A baseline that cannot be read must not hide that every third request fails.
                trouble.append(error.message)
        signals = [
            Signal(
                endpoint=endpoint.id,
                version=version.id,
                kind=breach.kind,
                name=breach.name,
                sentence=breach.sentence,
                figures=breach.figures,
                at=now,
            )
            for breach in found
        ]
        return signals, "; ".join(trouble)

    def _live(self, endpoint: Endpoint, version: Version, minutes: int, now: datetime) -> list[Minute]:
        last = minute_of(now) + 1
        found = self._counts.minutes(endpoint.id, last - minutes, last, version.id)
        return [minute for minute in found if minute.role == Role.LIVE]

    def _traffic(self, endpoint: Endpoint, version: Version, slo: SloConfig, now: datetime) -> Iterable[Breach]:
        counted = traffic_sum(self._live(endpoint, version, _TRAFFIC_MINUTES, now))
        limit = _ERROR_SHARE if slo.availability is None else 1 - slo.availability
        broken = (Failure.MODEL_ERROR, Failure.TIMEOUT, Failure.INVALID_OUTPUT)
        yield from _share(counted, broken, limit, SignalKind.ERRORS, "failed")
        yield from _share(counted, (Failure.INVALID_INPUT,), _REFUSED_SHARE, SignalKind.DATA_QUALITY, "were refused")
        if slo.latency_under_ms is not None:
            yield from _slow(counted, slo.latency_under_ms, 1 - (slo.latency_share or 0.99))

    def _drift(self, endpoint: Endpoint, version: Version, watch: DriftWatch, now: datetime) -> Iterable[Breach]:
        baseline = self._counts.baseline(version)
        if not watch.on or baseline is None:
            return
        minutes = max(1, ceil((watch.window_seconds or _DRIFT_SECONDS) / 60))
        profile = feature_sum(self._live(endpoint, version, minutes, now), baseline)
        report = check(profile, _surer(drift_spec(watch)))
        if report.verdict is not Verdict.FAIL:
            return
        shifted = [item for item in report.drifted if _fails(item, DriftTest.DISTRIBUTION)]
        broken = [item for item in report.drifted if item not in shifted]
        yield from _features(SignalKind.DRIFT, shifted, report)
        yield from _features(SignalKind.DATA_QUALITY, broken, report)

    def _quality(self, endpoint: Endpoint, version: Version, config: ModelConfig, now: datetime) -> Iterable[Breach]:
        watch = config.watch.quality
        limit = None if watch is None else watch.at_least if watch.at_least is not None else watch.at_most
        if watch is None or limit is None or version.manifest is None:
            return
        metric = metric_for(version.manifest, watch)
        if misfit(metric, version.manifest):
            return  # the endpoint's page says why quality is unknown; errors and drift are watched all the same
        first = minute_of(now - timedelta(seconds=watch.labels_within))
        rows = watch.least_rows or LABELLED_ROWS
        # This is asked every few seconds, so its cost must not grow with the labels; some of them may be of no use.
        joined = self._labels.joined(endpoint.id, first, minute_of(now) + 1, version.id, newest=2 * rows)
        newest = comparable(metric, version.manifest, joined)[-rows:]
        # Always the same chance: the same rows must give the same verdict at every look.
        rng = np.random.default_rng(0)
        judged = assess(metric, outcomes_of(newest, version.manifest), limit, rng, least_rows=rows)
        if judged.verdict is Verdict.FAIL and judged.estimate is not None:
            yield Breach(
                kind=SignalKind.QUALITY,
                sentence=judged.sentence,
                name=metric.name,
                figures={
                    "value": judged.estimate.value,
                    "low": judged.estimate.low,
                    "high": judged.estimate.high,
                    "rows": judged.estimate.rows,
                    "limit": limit,
                },
            )


def _surer(spec: DriftSpec) -> DriftSpec:
    """The same for a check that is made over and over."""
    return replace(
        spec,
        alpha=spec.alpha / _LOOKS,
        alpha_never_seen=spec.alpha_never_seen / _LOOKS,
        alpha_missing=spec.alpha_missing / _LOOKS,
    )


def _fails(item: FeatureDrift, test: DriftTest) -> bool:
    return any(finding.test is test and finding.verdict is Verdict.FAIL for finding in item.findings)


def _features(kind: SignalKind, items: Sequence[FeatureDrift], report: DriftReport) -> Iterable[Breach]:
    if not items:
        return
    told = "; ".join(item.sentence for item in items[:_MOST_TOLD])
    more = f"; and {len(items) - _MOST_TOLD} more" if len(items) > _MOST_TOLD else ""
    sentence = f"{len(items)} of {len(report.features) + len(report.predictions)} distributions moved: {told}{more}"
    for item in items:
        yield Breach(
            kind=kind, sentence=sentence, name=item.feature, figures={"rows": report.rows, "features": len(items)}
        )


def _share(counted: Profile, kinds: Sequence[Failure], limit: float, kind: SignalKind, what: str) -> Iterable[Breach]:
    failures = counted.errors
    hits, rows = sum(failures[failure] for failure in kinds), counted.requests
    if rows and excess_evidence(hits, rows, limit) >= _EVIDENCE:
        sentence = f"{hits:,} of {rows:,} requests {what} ({hits / rows:.1%}), at most {limit:.2%} is allowed"
        yield Breach(
            kind=kind,
            sentence=sentence,
            name="+".join(kinds),
            figures={"failed": hits, "requests": rows, "limit": limit},
        )


def _slow(counted: Profile, under_ms: float, limit: float) -> Iterable[Breach]:
    rows = int(counted.latencies.sum())
    slow = counted.slower_than(under_ms * 1000)
    if rows and excess_evidence(slow, rows, limit) >= _EVIDENCE:
        sentence = (
            f"{slow:,} of {rows:,} answers took longer than {under_ms:g} ms ({slow / rows:.1%}),"
            f" at most {limit:.2%} may"
        )
        figures = {"slow": slow, "requests": rows, "under_ms": under_ms, "limit": limit}
        yield Breach(kind=SignalKind.LATENCY, sentence=sentence, name="latency", figures=figures)
