"""Numbers of many rows counted into the bins of a profile: each by itself, or all of a feature in their order.

Both ways give the same counts to the last unit; which is quicker depends on how many rows there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.domain.monitoring import layout as at
from lockgate.domain.monitoring.components import Ints
from lockgate.domain.monitoring.layout import Layout

#: Shape (numbers, rows), NaN where a value is missing; float32 or float64.
Values = NDArray[np.floating[Any]]

#: From so many rows on, sorting a feature's values is quicker than searching the bin of each.
MANY_ROWS = 128
#: Up to so many rows all edges are compared at once; above, each number is searched by itself.
_FEW_ROWS = 4


def count_each(cells: Ints, layout: Layout, values: Values) -> None:
    """Find the bin of each value by itself, and add to ``cells``."""
    if values.shape[1] <= _FEW_ROWS:
        bins = (values[:, :, None] > layout.edges[:, None, :]).sum(axis=2) + layout.starts
    else:
        bins = np.empty(values.shape, dtype=np.int64)
        for row, feature in enumerate(layout.numbers):
            bins[row] = feature.edges.searchsorted(values[row])
        bins += layout.starts
    with np.errstate(over="ignore", invalid="ignore"):
        away = (values - layout.means[bins.clip(max=layout.bins - 1)]) * layout.per_scale
    away = np.rint(away.clip(-at.FARTHEST, at.FARTHEST))
    missing = np.isnan(values)
    if missing.any():
        cells[layout.first_missing : layout.first_missing + len(values)] += missing.sum(axis=1)
        present = ~missing
        bins, away = bins[present], away[present]
    cells[at.FIRST_BIN : layout.first_distance] += np.bincount(bins.ravel(), minlength=layout.bins)
    sums = np.bincount(bins.ravel(), weights=away.ravel(), minlength=layout.bins)
    cells[layout.first_distance : layout.first_below] += sums.astype(np.int64)
    cells[layout.first_below : layout.first_above] += (values < layout.lows).sum(axis=1)
    cells[layout.first_above : layout.first_missing] += (values > layout.highs).sum(axis=1)


def count_sorted(cells: Ints, layout: Layout, values: Values) -> None:
    """Sort ``values``, in place, look up where each bin of a feature ends, and add to ``cells``."""
    numbers, rows = values.shape
    cuts = layout.cuts
    values.sort(axis=1)
    keys = cuts.narrow if values.dtype == np.float32 else cuts.keys
    # A segment begins where the one before it ends, for each feature's last key, NaN, ends its rows.
    ends = np.concatenate([row.searchsorted(key, side="right") for row, key in zip(values, keys, strict=True)])
    ends += cuts.owner * rows
    counts = ends.copy()
    counts[1:] -= ends[:-1]
    away = np.repeat(cuts.means, counts)
    table = away.reshape(numbers, rows)
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(values, table, out=table)
        np.multiply(table, layout.per_scale, out=table)
    np.rint(table.clip(-at.FARTHEST, at.FARTHEST, out=table), out=table)
    held = counts.nonzero()[0]
    sums = np.zeros(len(counts))
    # These are whole numbers below 2**53, so their sums are exact in any order.
    sums[held] = np.add.reduceat(away, ends[held] - counts[held])
    cells[at.FIRST_BIN : layout.first_distance] += cuts.by_bin(counts)
    cells[layout.first_distance : layout.first_below] += cuts.by_bin(sums).astype(np.int64)
    cells[layout.first_below : layout.first_above] += counts[cuts.below] * cuts.bounded
    cells[layout.first_above : layout.first_missing] += counts[cuts.above]
    cells[layout.first_missing : layout.first_missing + numbers] += counts[cuts.missing]
