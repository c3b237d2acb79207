"""What an endpoint's monitoring shows: traffic, drift and quality over time, and distributions beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.components import Floats, Ints
from lockgate.domain.monitoring.feature import Feature, FeatureKind
from lockgate.domain.monitoring.findings import FeatureDrift
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.monitoring.traffic import Traffic

#: Bars of a drawn distribution; the counts behind them have finer bins.
BARS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficPoint:
    """One span of minutes of one version in one role, or of all that answered when both are empty."""

    at: datetime
    version: str
    role: str
    traffic: Traffic


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftCell:
    """One feature in one span of minutes."""

    verdict: Verdict
    #: Kolmogorov-Smirnov distance (for categories, the share that moved) and PSI; None where too little was counted.
    distance: float | None
    psi: float | None
    missing_share: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRow:
    """One feature over time; as many cells as `DriftPicture.spans`."""

    feature: str
    prediction: bool
    cells: tuple[DriftCell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSpan:
    """All features in one span."""

    start: datetime
    end: datetime
    rows: int
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftPicture:
    """Drift over time, and the newest verdict in full."""

    version: str
    verdict: Verdict
    sentence: str
    #: Where the newest verdict's window starts and ends, and its rows.
    start: datetime
    end: datetime
    rows: int
    features: tuple[FeatureDrift, ...]
    predictions: tuple[FeatureDrift, ...]
    spans: tuple[DriftSpan, ...]
    over_time: tuple[DriftRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityPoint:
    """Labelled quality in one span; the value is None while too few labels are there."""

    at: datetime
    rows: int
    value: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityPicture:
    """Labelled quality over time."""

    version: str
    metric: str
    higher_is_better: bool
    #: What the file beside the model asks for; None where it asks for nothing.
    at_least: float | None
    at_most: float | None
    verdict: Verdict
    sentence: str
    #: Labels of the whole time shown, and the metric over them with its interval.
    rows: int
    value: float | None
    low: float | None
    high: float | None
    points: tuple[QualityPoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Monitoring:
    """One endpoint from a moment to another."""

    endpoint: str
    start: datetime
    end: datetime
    #: Minutes in one span of the pictures.
    span_minutes: int
    #: All that answered; None where nothing was counted.
    total: Traffic | None
    #: All that answered, by span; and each version in each role, by span.
    answered: tuple[TrafficPoint, ...]
    by_version: tuple[TrafficPoint, ...]
    drift: DriftPicture | None
    quality: QualityPicture | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A range of values or a category, and the share of rows in it; None without any rows."""

    name: str
    low: float | None
    high: float | None
    baseline: float | None
    now: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """One feature in training and now."""

    feature: str
    kind: str
    version: str
    start: datetime
    end: datetime
    #: Rows with a value.
    rows_baseline: int
    rows_now: int
    missing_baseline: int
    missing_now: int
    #: Rows below and above all of training.
    below: int
    above: int
    #: As counted: interior edges of the bins, or the categories with one slot more for all others.
    edges: tuple[float, ...]
    categories: tuple[str, ...]
    counts_baseline: tuple[int, ...]
    counts_now: tuple[int, ...]
    #: As drawn.
    bars: tuple[Bar, ...]
    drift: FeatureDrift | None


def bars_of(feature: Feature, profile: Profile) -> tuple[Bar, ...]:
    """A feature's two distributions on the same few bars."""
    now, before = profile.histogram(feature.name), feature.counts
    if feature.kind is FeatureKind.CATEGORY:
        return _categories(feature, before, now)
    bounds = np.concatenate([[feature.low], feature.edges, [feature.high]])
    if len(before) <= BARS:
        # Few values: each bin is one of them, and its mean names it.
        shares = zip(feature.means.tolist(), _shares(before), _shares(now), strict=True)
        return tuple(
            Bar(name=f"{mean:.4g}", low=float(bounds[i]), high=float(bounds[i + 1]), baseline=b, now=n)
            for i, (mean, b, n) in enumerate(shares)
        )
    low, high = _drawn(bounds, before)
    grid = np.linspace(low, high, BARS + 1)
    pairs = zip(_spread(bounds, before, grid), _spread(bounds, now, grid), strict=True)
    return tuple(
        Bar(name=f"{grid[i]:.4g}", low=float(grid[i]), high=float(grid[i + 1]), baseline=b, now=n)
        for i, (b, n) in enumerate(pairs)
    )


def _categories(feature: Feature, before: Ints, now: Ints) -> tuple[Bar, ...]:
    names = (*feature.categories, "any other value")
    rows = list(zip(names, _shares(before), _shares(now), strict=True))
    rows = [row for row in rows if row[1] or row[2]]
    rows.sort(key=lambda row: -max(row[1] or 0.0, row[2] or 0.0))
    return tuple(Bar(name=name, low=None, high=None, baseline=b, now=n) for name, b, n in rows[: 2 * BARS])


def _drawn(bounds: Floats, counts: Ints) -> tuple[float, float]:
    """The range that is drawn: without the outermost bins where those are far longer than all others."""
    low, high = float(bounds[0]), float(bounds[-1])
    inner = float(bounds[-2] - bounds[1])
    if inner > 0 and bounds[1] - low > inner:
        low = float(bounds[1]) - inner / 10
    if inner > 0 and high - bounds[-2] > inner:
        high = float(bounds[-2]) + inner / 10
    return low, high if high > low else low + 1.0


def _shares(counts: Ints) -> list[float | None]:
    total = int(counts.sum())
    return [None] * len(counts) if total == 0 else [count / total for count in counts.tolist()]


def _spread(bounds: Floats, counts: Ints, grid: Floats) -> list[float | None]:
    """The counts on the cells of ``grid``, as if each bin's rows lay evenly in it; what lies outside joins the ends."""
    total = int(counts.sum())
    if total == 0:
        return [None] * (len(grid) - 1)
    reached = np.interp(grid, bounds, np.concatenate([[0.0], np.cumsum(counts)]) / total)
    reached[0], reached[-1] = 0.0, 1.0
    return np.diff(reached).tolist()
