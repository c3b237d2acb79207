"""Directions in which a histogram can move, and how much its windows swing by themselves.

The directions are the polynomials of degree one to four in the rank of a bin, orthonormal under the baseline: they read
like a change of place, of scale, of skew and of tails. Under the baseline each has mean 0 and variance 1 per row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Directions kept for each histogram.
DEGREES = 4
#: One more is kept for the share of missing values.
MISSING = DEGREES
#: Numbers of blocks that a baseline is cut into, finest first.
BLOCKS = (80, 40, 20)
#: Fewest rows in a block.
LEAST_BLOCK = 25
#: Fewest rows expected in a cell of a table before its square counts.
LEAST_EXPECTED = 5.0


def polynomials(counts: Ints) -> Floats:
    """The directions of a histogram, shape ``(degrees, bins)``; fewer than four when few bins hold anything.

    A bin that the baseline never saw takes the value of the rank it would have.
    """
    total = counts.sum()
    filled = int(np.count_nonzero(counts))
    degrees = min(DEGREES, filled - 1)
    if total == 0 or degrees < 1:
        return np.zeros((0, len(counts)))
    share = counts / total
    rank = np.cumsum(share) - share / 2 - 0.5
    powers = np.vander(2 * rank, degrees + 1, increasing=True)
    # QR of the weighted powers is Gram-Schmidt under the baseline; dividing by R gives them back without the weights.
    _, triangle = np.linalg.qr(np.sqrt(share)[:, None] * powers)
    directions = np.linalg.solve(triangle.T, powers.T)
    return directions[1:]


def block_starts(rows: int) -> list[Ints]:
    """Where each block begins, for every number of blocks that the rows are enough for."""
    return [np.arange(blocks) * rows // blocks for blocks in BLOCKS if rows // blocks >= LEAST_BLOCK]


def swings(bins: Ints, counts: Ints, starts: Sequence[Ints]) -> Floats:
    """How many times the variance of independent rows a number's blocks show, shape ``(levels, DEGREES + 1)``.

    ``bins`` has one entry a row in the order of the rows, -1 where the value is missing.
    """
    present = bins >= 0
    directions = polynomials(counts)
    found = np.ones((len(starts), DEGREES + 1))
    values = np.where(present, directions[:, np.maximum(bins, 0)], 0.0)
    for level, first in enumerate(starts):
        held = np.add.reduceat(present.astype(np.int64), first)
        sums = np.add.reduceat(values, first, axis=1)
        left = 1.0 - held / max(int(present.sum()), 1)
        expected = held * np.maximum(left, 1e-9)
        usable = held > 0
        if usable.any() and len(values):
            found[level, : len(values)] = np.mean(sums[:, usable] ** 2 / expected[usable], axis=1)
        found[level, MISSING] = _share_swing(~present, first)
    return found


def category_swings(bins: Ints, counts: Ints, starts: Sequence[Ints]) -> Floats:
    """The same for categories: the first direction holds the mean of chi-square over its degrees of freedom."""
    present = bins >= 0
    found = np.ones((len(starts), DEGREES + 1))
    for level, first in enumerate(starts):
        rows = np.diff(np.append(first, len(bins)))
        groups = rare_together(counts, float(rows.min()))
        cells = int(groups.max()) + 1
        table = np.zeros((len(first), cells))
        block = np.repeat(np.arange(len(first)), rows)
        np.add.at(table, (block[present], groups[bins[present]]), 1)
        share = np.bincount(groups, weights=counts, minlength=cells) / max(int(counts.sum()), 1)
        expected = table.sum(axis=1, keepdims=True) * share
        left = 1.0 - table.sum(axis=1) / max(int(counts.sum()), 1)
        if cells > 1 and (expected > 0).all():
            squares = ((table - expected) ** 2 / expected).sum(axis=1) / np.maximum(left, 1e-9)
            found[level, 0] = squares.mean() / (cells - 1)
        found[level, MISSING] = _share_swing(~present, first)
    return found


def rare_together(counts: Ints, rows: float) -> Ints:
    """A cell for each category, such that ``rows`` rows make every cell expect `LEAST_EXPECTED`.

    Rare categories share the last cell; when that is itself too small, the smallest common one joins it.
    """
    expected = counts / max(int(counts.sum()), 1) * rows
    common = np.flatnonzero(expected >= LEAST_EXPECTED)
    rest = float(expected[expected < LEAST_EXPECTED].sum())
    if len(common) and 0.0 < rest < LEAST_EXPECTED:
        common = np.delete(common, np.argmin(expected[common]))
    cells = len(common) + (1 if rest > 0.0 else 0)
    groups = np.full(len(counts), max(cells - 1, 0), dtype=np.int64)
    groups[common] = np.arange(len(common))
    return groups


def neighbours_together(counts: Ints, rows: float, most: int) -> Ints:
    """A cell for each bin, at most ``most``: neighbours join until each expects `LEAST_EXPECTED` of ``rows`` rows."""
    total = float(counts.sum())
    least = max(LEAST_EXPECTED / max(rows, 1.0), 1.0 / most if len(counts) > most else 0.0) * total
    groups = np.zeros(len(counts), dtype=np.int64)
    cell, held, left = 0, 0.0, total
    for index, count in enumerate(counts.tolist()):
        groups[index] = cell
        held += count
        left -= count
        # Close a cell only when what is left can fill another one.
        if 0 < held >= least - 1e-9 and left > 0 and left >= least - 1e-9 and cell < most - 1:
            cell, held = cell + 1, 0.0
    return groups


def _share_swing(missing: NDArray[np.bool_], first: Ints) -> float:
    share = float(missing.mean()) if len(missing) else 0.0
    if not 0.0 < share < 1.0:
        return 1.0
    rows = np.diff(np.append(first, len(missing)))
    found = np.add.reduceat(missing.astype(np.int64), first)
    expected = rows * share * (1 - share) * np.maximum(1 - rows / len(missing), 1e-9)
    return float(np.mean((found - rows * share) ** 2 / expected))
