"""Which of two versions is better, and how seldom a winner is declared that is none."""

from __future__ import annotations

import numpy as np
import pytest

from lockgate.base.verdict import Verdict
from lockgate.domain.rollout.experiment import Tally, compare, thompson_weight
from lockgate.domain.rollout.records import Experiment

ASKED = Experiment(metric="outcome", success="1", bandit=True, least_weight=1_000, most_weight=9_000)


def test_no_labels_declare_no_winner() -> None:
    found = compare(Tally(successes=0, labels=0), Tally(successes=0, labels=0), ASKED)
    assert found.verdict is Verdict.UNKNOWN
    assert "no labels" in found.sentence


@pytest.mark.parametrize(("ours", "theirs", "verdict"), [(180, 100, Verdict.PASS), (100, 180, Verdict.FAIL)])
def test_a_winner_is_declared_in_a_sentence(ours: int, theirs: int, verdict: Verdict) -> None:
    found = compare(Tally(successes=ours, labels=1000), Tally(successes=theirs, labels=1000), ASKED)
    assert found.verdict is verdict
    assert found.sentence.endswith("the candidate wins" if verdict is Verdict.PASS else "stable wins")


def test_of_two_that_are_alike_a_winner_is_seldom_declared_however_often_one_looks() -> None:
    rng = np.random.default_rng(11)
    declared = 0
    for _ in range(200):
        ours, theirs = (np.cumsum(rng.random(2_000) < 0.2) for _ in range(2))
        looks = range(100, 2_000, 50)
        declared += any(
            compare(
                Tally(successes=int(ours[at]), labels=at + 1), Tally(successes=int(theirs[at]), labels=at + 1), ASKED
            ).verdict
            is not Verdict.UNKNOWN
            for at in looks
        )
    assert declared <= 10


def test_shares_follow_the_better_one_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    even = thompson_weight(Tally(successes=20, labels=100), Tally(successes=20, labels=100), ASKED, rng)
    better = thompson_weight(Tally(successes=40, labels=100), Tally(successes=20, labels=100), ASKED, rng)
    worse = thompson_weight(Tally(successes=20, labels=100), Tally(successes=40, labels=100), ASKED, rng)
    assert worse == 1_000 < 4_500 < even < 5_500 < better == 9_000
