"""The tests of one feature: distribution, values never seen, missing values."""

from __future__ import annotations

import numpy as np

from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring import special
from lockgate.domain.monitoring.components import (
    DEGREES,
    MISSING,
    Ints,
    neighbours_together,
    polynomials,
    rare_together,
)
from lockgate.domain.monitoring.effect import PSI_CELLS
from lockgate.domain.monitoring.feature import Feature, FeatureKind
from lockgate.domain.monitoring.findings import DriftSpec, DriftTest, Effect, Finding
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.monitoring.shares import news, two_shares
from lockgate.domain.monitoring.swing import swing, tail

#: So few cells, or one cell with more than half of the rows, are compared share by share, exactly: there the
#: polynomials' sums are too far from normal.
_FEW_CELLS = 4
_LARGE_CELL = 0.5


def distribution(feature: Feature, profile: Profile, effect: Effect, features: int, spec: DriftSpec) -> Finding:
    """Whether the values are spread as in training. ``features`` is how many are compared so."""
    now = profile.histogram(feature.name)
    if feature.kind is FeatureKind.CATEGORY:
        z, p = _categories(feature, now)
        told = f"{effect.category!r} went from {effect.share_before:.1%} to {effect.share:.1%} of the rows"
        told += f", {effect.distance:.1%} moved in all"
        matters = effect.distance >= spec.least_distance
    else:
        z, p = _numbers(feature, now)
        shift = effect.shift or 0.0
        told = f"its mean went from {effect.mean_before:.4g} to {effect.mean:.4g}, values moved by {shift:.2f} sd"
        told += f", Kolmogorov-Smirnov distance {effect.distance:.3f}"
        matters = effect.distance >= spec.least_distance or shift >= spec.least_shift
    p = min(1.0, p * features)
    told += f", PSI {effect.psi:.3f} over {int(now.sum()):,} rows"
    fails = p < spec.alpha and matters
    return Finding(
        test=DriftTest.DISTRIBUTION,
        verdict=Verdict.FAIL if fails else Verdict.PASS,
        p=p,
        z=z,
        size=effect.distance,
        sentence=f"{feature.name} moved: {told} ({chance(p)})",
    )


def never_seen(feature: Feature, profile: Profile, features: int, spec: DriftSpec) -> Finding:
    """Whether values come that training did not have at all."""
    now = profile.histogram(feature.name)
    rows, rows_before = int(now.sum()), feature.present
    factors, _ = swing(feature, rows)
    factor = float(factors[:DEGREES].max())
    if feature.kind is FeatureKind.CATEGORY:
        test, hits = DriftTest.UNSEEN, profile.unseen(feature.name)
        p = news(*_worth(factor, hits, rows, rows_before), singletons=feature.singletons)
        told = f"{hits:,} of {rows:,} rows have a value that training never had"
    else:
        test, (below, above) = DriftTest.OUT_OF_RANGE, profile.outside(feature.name)
        hits = below + above
        p = min(1.0, 2 * min(news(*_worth(factor, side, rows, rows_before)) for side in (below, above)))
        told = f"{below:,} of {rows:,} rows lie below and {above:,} above all of training ({_range(feature)})"
    p = min(1.0, p * features)
    fails = p < spec.alpha_never_seen and hits >= spec.least_share * rows
    return Finding(
        test=test,
        verdict=Verdict.FAIL if fails else Verdict.PASS,
        p=p,
        z=None,
        size=hits / rows,
        sentence=f"{feature.name} left what was seen: {told} ({chance(p)})",
    )


def missing_values(feature: Feature, profile: Profile, features: int, spec: DriftSpec) -> Finding:
    """Whether values are missing as often as in training."""
    hits = profile.missing(feature.name)
    rows = hits + int(profile.histogram(feature.name).sum())
    factors, _ = swing(feature, rows)
    factor = float(factors[MISSING])
    share, share_before = hits / max(rows, 1), feature.missing / max(feature.rows, 1)
    scaled = [round(count / factor) for count in (hits, rows, feature.missing, feature.rows)]
    z, p = two_shares(scaled[0], scaled[1], scaled[2], scaled[3])
    p = min(1.0, p * features)
    fails = p < spec.alpha_missing and abs(share - share_before) >= spec.least_share
    return Finding(
        test=DriftTest.MISSING,
        verdict=Verdict.FAIL if fails else Verdict.PASS,
        p=p,
        z=z,
        size=share,
        sentence=f"{feature.name} is missing in {share:.1%} of {rows:,} rows, {share_before:.1%} in training"
        f" ({chance(p)})",
    )


def chance(p: float) -> str:
    """A p-value in words."""
    return "by chance less than once in 10,000 checks" if p < 1e-4 else f"by chance in {p:.2%} of checks"


def _numbers(feature: Feature, now: Ints) -> tuple[float, float]:
    rows = float(now.sum())
    cells = neighbours_together(feature.counts, rows, len(feature.counts))
    before, window = _merged(feature.counts, cells), _merged(now, cells)
    factors, freedom = swing(feature, int(rows))
    if len(before) <= _FEW_CELLS or before.max() > _LARGE_CELL * feature.present:
        cells = neighbours_together(feature.counts, np.inf, PSI_CELLS)  # exact tests need no least expectation
        return _cell_by_cell(_merged(feature.counts, cells), _merged(now, cells), float(factors[:DEGREES].max()))
    directions = polynomials(before)
    used = len(directions)
    spread = np.sqrt(factors[:used] * (1 / rows + 1 / feature.present))
    z = directions @ window / rows / spread
    p = tail(z, freedom[:used])
    return float(z[np.argmin(p)]), float(min(1.0, p.min() * used))


def _categories(feature: Feature, now: Ints) -> tuple[float | None, float]:
    seen = feature.counts > 0
    before, window = feature.counts[seen], now[seen]
    rows = int(window.sum())
    if len(before) < 2 or rows == 0:
        return None, 1.0
    cells = rare_together(before, float(rows))
    before, window = _merged(before, cells), _merged(window, cells)
    factors, _ = swing(feature, rows)
    factor = float(factors[0])
    if len(before) <= 2:
        # Too few rows for chi-square, or nothing else to compare: the commonest against the rest.
        counts = (feature.counts[seen], now[seen])
        most = int(np.argmax(counts[0]))
        before, window = (np.array([side[most], side.sum() - side[most]]) for side in counts)
        return _cell_by_cell(before, window, factor)
    return None, _chi_square(window, before, factor)


def _chi_square(first: Ints, second: Ints, factor: float) -> float:
    table = np.stack([first, second]).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum() / factor
    return float(special.chdtrc(len(first) - 1, statistic))


def _cell_by_cell(before: Ints, window: Ints, factor: float) -> tuple[float, float]:
    """The strongest of the cells' own tests; with two cells one test says both."""
    strongest, least, cells = 0.0, 1.0, len(before)
    rows, rows_before = round(int(window.sum()) / factor), round(int(before.sum()) / factor)
    tested = 1 if cells == 2 else cells
    for index in range(tested if cells > 1 else 0):
        hits, hits_before = round(int(window[index]) / factor), round(int(before[index]) / factor)
        z, p = two_shares(min(hits, rows), rows, min(hits_before, rows_before), rows_before)
        if p < least:
            strongest, least = z, p
    return strongest, min(1.0, least * tested)


def _merged(counts: Ints, cells: Ints) -> Ints:
    return np.bincount(cells, weights=counts, minlength=int(cells.max(initial=0)) + 1).astype(np.int64)


def _worth(factor: float, hits: int, rows: int, rows_before: int) -> tuple[int, int, int]:
    """The counts as independent rows would have given them."""
    return int(hits / factor), max(int(rows / factor), 1), max(int(rows_before / factor), 1)


def _range(feature: Feature) -> str:
    return f"{feature.low:.4g} to {feature.high:.4g}"
