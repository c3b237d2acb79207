"""Which of two versions is better by a declared metric, and how much of the traffic each gets meanwhile.

A metric is a share of successes among labelled answers. Both tests may be looked at after every label, and stay valid
when the weights follow the labels: each factor of the wager is fair given what came before (Wasserman, Ramdas and
Balakrishnan 2020, "Universal inference", section on sequential tests).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.shares import wilson, worse_evidence
from lockgate.domain.rollout.guard import Judgement
from lockgate.domain.rollout.records import Experiment, Rollout, Step

#: Name of the judgement that an experiment ends on.
EXPERIMENT = "experiment"
#: Draws for the chance that one share is above the other; the weight it gives is exact to half a percent.
_DRAWS = 20_000
#: A change of the weight that is smaller than this, in ten-thousandths, is not worth a new generation.
_WORTH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Labelled answers of one version, and how many of them were a success."""

    successes: int
    labels: int


def compare(ours: Tally, theirs: Tally, asked: Experiment) -> Judgement:
    """Whether the candidate wins (pass), stable wins (fail), or neither is sure (unknown).

    Without labels the evidence is 1 on both sides, so nothing is ever decided on no data.
    """
    better = worse_evidence(ours.successes, ours.labels, theirs.successes, theirs.labels, 0.0)
    worse = worse_evidence(theirs.successes, theirs.labels, ours.successes, ours.labels, 0.0)
    # Two tests share the chance of a false winner.
    needed = 2 / asked.alpha
    what = f"{asked.metric}: {_told(ours)} for the candidate, {_told(theirs)} for stable"
    missing = [max(asked.least_labels - side.labels, 0) for side in (ours, theirs)]
    if any(missing):
        verdict, sentence = Verdict.UNKNOWN, f"{what}: needs {missing[0]:,} more labels and {missing[1]:,} of stable's"
    elif better >= needed:
        verdict, sentence = Verdict.PASS, f"{what}: the candidate wins"
    elif worse >= needed:
        verdict, sentence = Verdict.FAIL, f"{what}: stable wins"
    else:
        verdict, sentence = Verdict.UNKNOWN, f"{what}: no winner yet"
    figures = {
        "successes": ours.successes,
        "labels": ours.labels,
        "successes_stable": theirs.successes,
        "labels_stable": theirs.labels,
        "evidence": better,
        "evidence_against": worse,
        "needed": needed,
    }
    return Judgement(name=EXPERIMENT, verdict=verdict, sentence=sentence, figures=figures)


def thompson_weight(ours: Tally, theirs: Tally, asked: Experiment, rng: np.random.Generator) -> int:
    """The candidate's weight in ten-thousandths: the chance that it is the better one, within the declared bounds.

    Thompson (1933), with uniform priors on both shares.
    """
    first = rng.beta(ours.successes + 1, ours.labels - ours.successes + 1, _DRAWS)
    second = rng.beta(theirs.successes + 1, theirs.labels - theirs.successes + 1, _DRAWS)
    chance = float((first > second).mean())
    return int(np.clip(round(chance * 10_000), asked.least_weight, asked.most_weight))


def new_weight(rollout: Rollout, step: Step, ours: Tally, theirs: Tally, rng: np.random.Generator) -> int | None:
    """The weight to go on with, or None where it should stay as it is."""
    asked = step.experiment
    if asked is None or not asked.bandit or not ours.labels or not theirs.labels:
        return None
    fresh = thompson_weight(ours, theirs, asked, rng)
    present = step.weight if rollout.weight is None else rollout.weight
    return fresh if abs(fresh - present) >= _WORTH else None


def _told(side: Tally) -> str:
    if not side.labels:
        return "no labels"
    low, high = wilson(side.successes, side.labels, 0.95)
    share = side.successes / side.labels
    return f"{side.successes:,} of {side.labels:,} ({share:.1%}, {low:.1%} to {high:.1%})"
