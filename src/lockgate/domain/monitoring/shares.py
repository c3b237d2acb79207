"""Tests on counts: two shares, news, intervals, and evidence that may be looked at again and again."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np

from lockgate.domain.monitoring import special

#: Counts with a wider range than this are compared by the normal law, which is exact enough there.
_MOST_EXACT = 20_000


def two_shares(hits: int, rows: int, hits_before: int, rows_before: int) -> tuple[float, float]:
    """Whether two shares differ: z (its sign says which way), and the two-sided p of Fisher's exact test.

    Without rows on one side there is nothing to compare: (0, 1).
    """
    if rows == 0 or rows_before == 0:
        return 0.0, 1.0
    total, everything = hits + hits_before, rows + rows_before
    share = total / everything
    spread = sqrt(share * (1 - share) * (1 / rows + 1 / rows_before))
    z = (hits / rows - hits_before / rows_before) / spread if spread > 0 else 0.0
    lowest, highest = max(0, total - rows_before), min(total, rows)
    if highest - lowest > _MOST_EXACT:
        return z, float(2 * special.ndtr(-abs(z)))
    possible = np.arange(lowest, highest + 1, dtype=np.float64)
    weights = _log_choose(rows, possible) + _log_choose(rows_before, total - possible) - _log_choose(everything, total)
    chances = np.exp(weights)
    here = hits - lowest
    return z, min(1.0, 2 * float(min(chances[: here + 1].sum(), chances[here:].sum())))


def news(hits: int, rows: int, rows_before: int, *, singletons: int = 0) -> float:
    """The chance of ``hits`` or more rows of a sort that the rows before did not have at all.

    When rows come in any order this is P = w!(n+w-k)!/((w-k)!(n+w)!), a beta-binomial tail. Where the sort is "any
    category not met before", the categories met once tell how much was still to come (Good and Turing), and enter its
    first parameter.
    """
    if hits <= 0 or rows_before <= 0:
        return 1.0
    first, second = singletons + 1.0, max(rows_before - singletons, 1.0)
    fewer = np.arange(min(hits, rows + 1), dtype=np.float64)
    chances = _log_choose(rows, fewer) + special.betaln(fewer + first, rows - fewer + second)
    return float(np.clip(1.0 - np.exp(chances - special.betaln(first, second)).sum(), 0.0, 1.0))


def wilson(hits: float, rows: float, confidence: float) -> tuple[float, float]:
    """Wilson's two-sided interval of a share; (0, 1) without rows."""
    if rows <= 0:
        return 0.0, 1.0
    z = float(special.ndtri(0.5 + confidence / 2))
    share = hits / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * sqrt(max(share * (1 - share), 0.0) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def excess_evidence(hits: int, rows: int, limit: float) -> float:
    """How strongly the rows speak against a share of at most ``limit``: an e-value, safe to look at after every row.

    A wager on shares above the limit, uniformly mixed: the ratio of the mean likelihood over (limit, 1) to that at the
    limit. Under any share up to the limit it is a nonnegative supermartingale that starts at 1, so by Ville's
    inequality it ever exceeds 1/alpha with a chance of at most alpha (Robbins 1970; Ramdas and others 2023,
    "Game-theoretic statistics and safe anytime-valid inference").
    """
    if rows == 0 or limit >= 1.0:
        return 1.0
    misses = rows - hits
    if limit <= 0.0:
        return float("inf") if hits else 1.0
    tail = float(special.betaincc(hits + 1, misses + 1, limit))
    if tail <= 0.0:
        return 0.0
    strength = (
        float(special.betaln(hits + 1, misses + 1))
        + log(tail)
        - log(1 - limit)
        - hits * log(limit)
        - misses * log(1 - limit)
    )
    return exp(min(strength, 700.0))


def worse_evidence(hits: int, rows: int, hits_beside: int, rows_beside: int, margin: float) -> float:
    """How strongly two counts speak against "our share is at most the other one's plus ``margin``": an e-value.

    The mean likelihood over fixed priors, divided by the largest likelihood that the claim allows. Whatever the true
    shares are, that is at most the ratio to the true likelihood, a martingale from 1; so it may be looked at after
    every row, and exceeds 1/alpha with a chance of at most alpha if the claim holds (Wasserman, Ramdas and
    Balakrishnan 2020, "Universal inference", section on sequential tests).
    """
    if rows == 0 or rows_beside == 0:
        return 1.0
    misses, misses_beside = rows - hits, rows_beside - hits_beside
    # Ours may be anything; a version in service rarely fails.
    ours = special.betaln(hits + 1.0, misses + 1.0)
    rare, common = 0.5, 10.0
    beside = special.betaln(hits_beside + rare, misses_beside + common) - special.betaln(rare, common)

    def likelihood(share: float, share_beside: float) -> float:
        return float(
            special.xlogy(hits, share)
            + special.xlog1py(misses, -share)
            + special.xlogy(hits_beside, share_beside)
            + special.xlog1py(misses_beside, -share_beside)
        )

    share, share_beside = hits / rows, hits_beside / rows_beside
    if share <= share_beside + margin:
        best = likelihood(share, share_beside)
    else:
        # On the edge of the claim the likelihood has one hump: cut the range by thirds.
        low, high = 0.0, max(1.0 - margin, 0.0)
        for _ in range(80):
            left, right = low + (high - low) / 3, high - (high - low) / 3
            if likelihood(left + margin, left) < likelihood(right + margin, right):
                low = left
            else:
                high = right
        best = likelihood(low / 2 + high / 2 + margin, low / 2 + high / 2)
    return exp(min(float(ours + beside) - best, 700.0))


def _log_choose(whole: float, part: np.ndarray | float) -> np.ndarray:
    return special.gammaln(whole + 1.0) - special.gammaln(part + 1.0) - special.gammaln(whole - part + 1.0)
