"""How far a feature swings without drifting, as its training blocks show."""

from __future__ import annotations

import numpy as np

from lockgate.domain.monitoring import special
from lockgate.domain.monitoring.components import DEGREES, Floats, block_starts
from lockgate.domain.monitoring.feature import Feature

#: How many blocks' worth the belief in independent rows weighs.
_BELIEF = 10.0
#: From here on the learned variance is uncertain enough to matter, and the tail is Student's.
_UNSURE = 1.3


def swing(feature: Feature, rows: int) -> tuple[Floats, Floats]:
    """For windows of ``rows`` rows: times the variance of independent rows, never below 1, and degrees of freedom.

    Both of shape ``(DEGREES + 1,)``, the last for the share of missing values. Beyond the largest block,
    the part of the swing that is proven (95 %) is taken to lie between blocks: it does not average out.
    """
    starts = block_starts(feature.rows)
    if not starts:
        return np.ones(DEGREES + 1), np.full(DEGREES + 1, np.inf)
    sizes = [feature.rows // len(first) for first in starts]
    # Rows that resemble their neighbours swing alike on every level, and the finest tells it best; a swing between
    # blocks shows most on the coarsest. So every level that the window reaches has its say.
    levels = [index for index, size in enumerate(sizes) if size <= rows] or [0]
    blocks = np.array([len(starts[level]) for level in levels])[:, None]
    shrunk = np.maximum((_BELIEF + blocks * feature.swings[levels]) / (_BELIEF + blocks), 1.0).max(axis=0)
    last, count = levels[-1], int(blocks[-1, 0])
    proven = feature.swings[last] * (count - 1) / special.chdtri(count - 1, 0.05)
    growth = np.maximum(proven - 1.0, 0.0) * max(rows / sizes[last] - 1.0, 0.0)
    return shrunk + growth, np.where(shrunk > _UNSURE, count - 1 + _BELIEF, np.inf)


def tail(z: Floats, freedom: Floats) -> Floats:
    """Two-sided p of z, by Student's law where the degrees of freedom are finite."""
    away = -np.abs(z)
    finite = np.isfinite(freedom)
    return 2 * np.where(finite, special.stdtr(np.where(finite, freedom, 1.0), away), special.ndtr(away))
