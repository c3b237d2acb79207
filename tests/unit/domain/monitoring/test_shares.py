from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lockgate.domain.monitoring.shares import excess_evidence, news, two_shares, wilson, worse_evidence


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60))
def test_two_shares_is_fishers_test_taken_twice(hits: int, misses: int, hits_before: int, misses_before: int) -> None:
    law = stats.hypergeom(hits + misses + hits_before + misses_before, hits + hits_before, hits + misses)
    sides = [float(law.cdf(hits)), float(law.sf(hits - 1))]
    _, p = two_shares(hits, hits + misses, hits_before, hits_before + misses_before)
    assert p == pytest.approx(min(1.0, 2 * min(sides)), rel=1e-6)


def test_large_counts_are_compared_by_the_normal_law() -> None:
    z, p = two_shares(501_000, 1_000_000, 500_000, 1_000_000)
    assert p == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert two_shares(5, 10, 0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "rows", "before"), [(1, 100, 1000), (3, 50, 400), (10, 20, 30)])
def test_news_is_the_chance_that_the_highest_ranks_all_fall_into_the_window(hits: int, rows: int, before: int) -> None:
    by_hand = math.comb(rows, hits) / math.comb(rows + before, hits)
    assert news(hits, rows, before) == pytest.approx(by_hand)
    assert news(hits, rows, before, singletons=5) > by_hand
    assert news(0, rows, before) == 1.0


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_holds_the_share(hits: int, more: int) -> None:
    low, high = wilson(hits, hits + more, 0.95)
    assert 0 <= low <= hits / (hits + more) <= high <= 1
    expected = stats.binomtest(hits, hits + more).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_knows_nothing_without_rows() -> None:
    assert wilson(0, 0, 0.95) == (0.0, 1.0)


def test_evidence_of_an_excess_rarely_misleads_however_often_one_looks() -> None:
    rng = np.random.default_rng(0)
    misled = 0
    for _ in range(200):
        hits = (rng.random(400) < 0.05).cumsum()
        misled += any(excess_evidence(int(hits[rows - 1]), rows, 0.05) >= 20 for rows in range(1, 401))
    assert misled <= 10


def test_evidence_against_an_equal_version_rarely_misleads_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    misled = 0
    for _ in range(100):
        ours, beside = (rng.random(400) < 0.06).cumsum(), (rng.random(400) < 0.05).cumsum()
        misled += any(
            worse_evidence(int(ours[rows - 1]), rows, int(beside[rows - 1]), rows, 0.01) >= 20
            for rows in range(1, 401, 4)
        )
    assert misled <= 5


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.floats(0, 1))
def test_evidence_is_a_number_for_any_counts(hits: int, misses: int, beside: int, fine: int, limit: float) -> None:
    for evidence in (
        worse_evidence(hits, hits + misses, beside, beside + fine, limit),
        excess_evidence(hits, hits + misses, limit),
    ):
        assert evidence >= 0
    if beside + fine == 0 or hits + misses == 0:
        assert worse_evidence(hits, hits + misses, beside, beside + fine, limit) == 1.0


def test_evidence_grows_with_what_is_seen() -> None:
    seen = [worse_evidence(hits, 100, 2, 100, 0.01) for hits in range(3, 60)]
    assert seen == sorted(seen)
    assert excess_evidence(1, 10, 0.0) == float("inf")
    assert excess_evidence(0, 10, 0.0) == 1.0
    assert excess_evidence(5, 10, 1.0) == 1.0
