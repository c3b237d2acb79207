"""Behaviour that the model's own file declares: invariance, direction and minimum tests, CheckList style."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from pandas import DataFrame

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding, Look
from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict

#: Most holdout rows that a declared test asks about.
_MOST_ROWS = 2_000


def declared_looks(evidence: Evidence, params: dict[str, Any]) -> list[tuple[str, Look]]:
    """A look for each declared test, in the file's order."""
    found: list[tuple[str, Look]] = []
    for number, test in enumerate(params.get("invariance", ())):
        found.append((f"invariance {number + 1}", partial(_invariance, evidence, test)))
    for number, test in enumerate(params.get("direction", ())):
        found.append((f"direction {number + 1}", partial(_direction, evidence, test)))
    return found


def _rows(evidence: Evidence, column: str) -> DataFrame:
    frame = evidence.features(evidence.candidate).head(_MOST_ROWS)
    if column not in frame.columns:
        known = ", ".join(map(str, frame.columns))[:300]
        raise CannotTell(f"the model takes no column {column!r}", hint=f"it takes {known}")
    return frame


def _score(evidence: Evidence, frame: DataFrame) -> Floats:
    """What goes up or down: the positive class's probability, or the prediction; shape (rows,)."""
    candidate = evidence.candidate
    answer = evidence.runner.answer(frame)
    if not candidate.classes:
        return answer.scores
    if candidate.positive is None:
        raise CannotTell("the model tells more than two classes apart, so nothing goes up or down")
    return answer.scores[:, candidate.classes.index(candidate.positive)]


def _invariance(evidence: Evidence, test: dict[str, Any]) -> Iterator[Finding]:
    """``{change: {sex: [F, M]}, tolerance: 0.01}``: the answer stays when only this changes."""
    ((column, values),) = test["change"].items()
    frame, tolerance = _rows(evidence, column), float(test.get("tolerance", 0.0))
    answers: list[Floats] = []
    for value in values:
        changed = frame.copy()
        changed[column] = value
        try:
            answers.append(evidence.runner.answer(changed).scores.reshape(len(frame), -1))
        except Invalid as error:
            raise CannotTell(f"the model refuses {column}={value}: {error.message}") from error
    apart = np.ptp(np.stack(answers), axis=0).max(axis=1)
    broken = int((apart > tolerance + 1e-9).sum())
    yield Finding(
        name=f"invariance to {column}",
        verdict=Verdict.FAIL if broken else Verdict.PASS,
        sentence=f"{broken} of {len(frame)} rows change by more than {tolerance:g} when only {column} is one of"
        f" {', '.join(map(str, values))}, by {float(apart.max()):.3g} at most",
        hint=f"train without {column}, or allow more with tolerance" if broken else "",
        figures={"rows": len(frame), "broken": broken, "apart": rounded(float(apart.max()))},
    )


def _direction(evidence: Evidence, test: dict[str, Any]) -> Iterator[Finding]:
    """``{increase: age, by: 10, expect: up, tolerance: 0.01}``: the answer goes that way, or stays."""
    column, step, up = str(test["increase"]), float(test.get("by", 1.0)), test["expect"] == "up"
    frame, tolerance = _rows(evidence, column), float(test.get("tolerance", 0.0))
    changed = frame.copy()
    try:
        changed[column] = frame[column] + step
    except TypeError as error:
        raise CannotTell(f"{column} holds no numbers, so it cannot be increased") from error
    moved = _score(evidence, changed) - _score(evidence, frame)
    wrong = moved < -tolerance - 1e-9 if up else moved > tolerance + 1e-9
    broken, allowed = int(wrong.sum()), float(test.get("share", 1.0))
    held = 1 - broken / max(len(frame), 1)
    bad = held < allowed
    yield Finding(
        name=f"direction of {column}",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"with {step:g} more {column}, {held:.1%} of {len(frame)} rows go {'up' if up else 'down'} or stay;"
        f" {allowed:.1%} is asked for",
        hint=f"constrain the model to be monotone in {column}, or ask for a smaller share" if bad else "",
        figures={"rows": len(frame), "broken": broken},
    )
