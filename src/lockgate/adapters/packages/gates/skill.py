"""The gate that asks whether the data are worth more than the candidate makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.limits import LEAST_ROWS
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.gates.skill import Answered, Skill, compare

#: Chance that a candidate with all that is demanded is refused.
_ALPHA = 0.001
_HINT = (
    "compare its inputs with the training rows: columns in another order or unit, an encoder or scaler of another day,"
    " classes in another order, a threshold that was lost"
)
#: Most holdout rows that are looked at.
_MOST_ROWS = 20_000


def judge_skill(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Not clearly worse than a plain model of the same training rows: a swapped column, a stale encoder, an inverted
    label or a lost threshold shows here also when nothing is live to compare with."""
    candidate = evidence.candidate
    if candidate.task not in ("classification", "regression"):
        raise CannotTell("the model answers neither classes nor one number a row")
    outcomes = evidence.outcomes
    kept = np.flatnonzero(outcomes.labels >= 0) if candidate.classes else np.arange(len(outcomes))
    if len(kept) < LEAST_ROWS:
        raise CannotTell(f"{len(kept)} labelled rows, and {LEAST_ROWS} is the least", hint="label more holdout rows")
    if len(kept) > _MOST_ROWS:
        kept = np.sort(rng.choice(kept, _MOST_ROWS, replace=False))
    labels = outcomes.labels[kept].astype(np.float64)
    own = _answered(labels, evidence.answer.scores[kept], outcomes.predicted[kept], bool(candidate.classes))
    plain = evidence.reference.on_judged[kept]
    picked = plain.argmax(axis=1) if candidate.classes else plain
    found = compare(own, _answered(labels, plain, picked, bool(candidate.classes)), rng, alpha=_ALPHA)
    if not found:
        raise CannotTell("the holdout rows are of one class or all of one value", hint="hold out rows of every class")
    return _result(found, len(kept))


def _answered(labels: Floats, scores: Floats, predicted: Any, classes: bool) -> Answered:
    return Answered(
        labels=labels, predicted=np.asarray(predicted, dtype=np.float64), scores=scores if classes else None
    )


def _result(found: tuple[Skill, ...], rows: int) -> GateResult:
    lacking = [skill for skill in found if skill.lacking]
    told = "; ".join(
        f"{skill.measure.words}: {skill.own:.0%} of the way from a guess to perfect, a plain model of the same rows"
        f" {skill.reference:.0%}, at least {skill.demanded:.0%} is asked for"
        for skill in lacking or found
    )
    return GateResult(
        gate="skill",
        name="",
        verdict=Verdict.FAIL if lacking else Verdict.PASS,
        sentence=f"{told}, on {rows:,} rows",
        hint=_HINT if lacking else "",
        figures={
            "rows": rows,
            "measures": [
                {
                    "name": skill.measure.name,
                    "skill": rounded(skill.own),
                    "reference": rounded(skill.reference),
                    "demanded": rounded(skill.demanded),
                    "lacking": skill.lacking,
                }
                for skill in found
            ],
        },
    )
