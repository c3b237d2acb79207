"""How far two histograms lie apart, in numbers that do not depend on how many rows there are."""

from __future__ import annotations

import numpy as np

from lockgate.domain.monitoring.components import Floats, Ints, neighbours_together, rare_together
from lockgate.domain.monitoring.feature import Feature, FeatureKind
from lockgate.domain.monitoring.findings import Effect
from lockgate.domain.monitoring.profile import Profile

#: Most cells of a PSI: with more, its bias outgrows what it measures.
PSI_CELLS = 16


def effect_of(feature: Feature, profile: Profile) -> Effect:
    """The sizes of a feature's change. Both sides need at least one row with a value."""
    now, before = profile.histogram(feature.name), feature.counts
    share, share_before = now / now.sum(), before / before.sum()
    if feature.kind is FeatureKind.CATEGORY:
        moved = share - share_before
        most = int(np.argmax(np.abs(moved)))
        names = (*feature.categories, "any other value")
        return Effect(
            distance=float(np.abs(moved).sum() / 2),
            psi=psi(now, before, rare_together(before, float(now.sum()))),
            category=names[most],
            share_before=float(share_before[most]),
            share=float(share[most]),
        )
    means = profile.bin_means(feature.name)
    return Effect(
        distance=float(np.abs(np.cumsum(share) - np.cumsum(share_before)).max()),
        psi=psi(now, before, neighbours_together(before, float(now.sum()), PSI_CELLS)),
        shift=wasserstein(means, share, feature.means, share_before) / feature.scale,
        mean=float(share @ means),
        mean_before=float(share_before @ feature.means),
    )


def psi(now: Ints, before: Ints, cells: Ints) -> float:
    """Population stability index on merged cells, less its expectation under no change, never below 0."""
    count = int(cells.max(initial=0)) + 1
    rows, rows_before = int(now.sum()), int(before.sum())
    # Half a row in each cell keeps an empty one finite.
    share = (np.bincount(cells, weights=now, minlength=count) + 0.5) / (rows + 0.5 * count)
    share_before = (np.bincount(cells, weights=before, minlength=count) + 0.5) / (rows_before + 0.5 * count)
    raw = float(((share - share_before) * np.log(share / share_before)).sum())
    return max(0.0, raw - (count - 1) * (1 / rows + 1 / rows_before))


def wasserstein(first: Floats, first_share: Floats, second: Floats, second_share: Floats) -> float:
    """Distance between two sets of weighted points: how far a unit of mass moves, on average."""
    points = np.concatenate([first, second])
    order = np.argsort(points, kind="stable")
    gap = np.cumsum(np.concatenate([first_share, -second_share])[order])[:-1]
    return float(np.abs(gap) @ np.diff(points[order]))
