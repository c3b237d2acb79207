"""The gate that asks the candidate odd questions: twice the same, alone and in company, with gaps, out of range."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.answers import Answer, Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence, Runner
from lockgate.adapters.packages.gates.declared_behaviour import declared_looks
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding, as_one, look_at
from lockgate.adapters.packages.gates.limits import LEAST_ROWS
from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Column, Kind

#: Rows of the holdout that are asked about; of these, so many singly.
_ROWS, _ALONE = 256, 40
#: Answers may differ by rounding: batches are added up in another order.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6
#: Rows asked about for each column that is tampered with.
_TAMPERED = 32
#: Share of the rows that every class but one makes up at least, before one predicted class counts as a collapse.
_RARE = 0.02


def judge_behaviour(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Same question, same answer; whoever else is asked; gaps, extremes and unseen values answered or refused clearly.

    ``invariance``, ``direction`` and ``minimum`` of the params are the tests that the model's own file declares
    (Ribeiro and others 2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList").
    """
    frame = _asked(evidence, rng)
    runner = evidence.runner
    answer = runner.answer(frame)
    looks = [
        ("numbers", partial(_numbers, evidence, answer)),
        ("deterministic", partial(_deterministic, evidence, runner, frame, answer)),
        ("alone", partial(_alone, runner, frame, answer)),
        ("order", partial(_any_order, runner, frame, answer, rng)),
        ("collapsed", partial(_collapsed, evidence)),
        ("gaps", partial(_gaps, evidence, runner, frame, answer)),
        ("extremes", partial(_extremes, evidence, runner, frame)),
        ("unseen", partial(_unseen, evidence, runner, frame)),
        *declared_looks(evidence, params),
    ]
    found = look_at(looks)
    well = sum(finding.verdict is Verdict.PASS for finding in found)
    return as_one("behaviour", "", found, nothing=f"all {well} looks at {len(frame)} rows found what they should")


def _asked(evidence: Evidence, rng: np.random.Generator) -> DataFrame:
    if not evidence.candidate.signature.inputs:
        raise CannotTell("the model takes no rows that it could be asked about")
    frame = evidence.features(evidence.candidate)
    if len(frame) < LEAST_ROWS:
        raise CannotTell(f"{len(frame)} labelled rows, and {LEAST_ROWS} is the least", hint="label more holdout rows")
    picked = np.sort(rng.choice(len(frame), min(_ROWS, len(frame)), replace=False))
    return frame.iloc[picked].reset_index(drop=True)


def _flat(answer: Answer) -> Floats:
    return answer.scores.reshape(len(answer), -1)


def _unlike(first: Answer, second: Answer) -> NDArray[np.bool_]:
    """Rows whose answers differ by more than rounding, shape (rows,)."""
    close = np.isclose(_flat(first), _flat(second), rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
    return np.logical_not(np.asarray(close).all(axis=1))


def _same(name: str, first: Answer, second: Answer, what: str, hint: str) -> Finding:
    different = int(_unlike(first, second).sum())
    apart = float(np.nanmax(np.abs(_flat(first) - _flat(second)))) if len(first) else 0.0
    told = f"{different} of {len(first)} rows get another answer {what}, by {apart:.3g} at most"
    return Finding(
        name=name,
        verdict=Verdict.FAIL if different else Verdict.PASS,
        sentence=told,
        hint=hint if different else "",
        figures={"rows": len(first), "different": different, "apart": rounded(apart)},
    )


def _numbers(evidence: Evidence, answer: Answer) -> Iterator[Finding]:
    scores = _flat(answer)
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    told, bad = f"{broken} of {len(answer)} answers are no numbers", broken > 0
    if evidence.candidate.classes and not broken:
        outside = int(((scores < -_ABSOLUTE) | (scores > 1 + _ABSOLUTE)).any(axis=1).sum())
        off = int((np.abs(scores.sum(axis=1) - 1) > 1e-3).sum())
        told, bad = (
            f"{outside} of {len(answer)} rows have probabilities outside 0 to 1, {off} do not add up to 1",
            (outside + off > 0),
        )
    yield Finding(
        name="numbers",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=told,
        hint="have predict_proba give probabilities" if bad else "",
    )


def _deterministic(evidence: Evidence, runner: Runner, frame: DataFrame, answer: Answer) -> Iterator[Finding]:
    hint = "fix what is drawn at random when it predicts, and what it keeps from one call to the next"
    yield _same("deterministic", answer, runner.answer(frame), "when they are asked again", hint)
    if evidence.candidate.lane != "upstream":
        again = evidence.another_runner().answer(frame)
        yield _same("another process", answer, again, "from the same package opened anew", hint)


def _alone(runner: Runner, frame: DataFrame, answer: Answer) -> Iterator[Finding]:
    count = min(_ALONE, len(frame))
    single = [runner.answer(frame.iloc[row : row + 1].reset_index(drop=True)) for row in range(count)]
    together = Answer(scores=answer.scores[:count])
    alone = Answer(scores=np.concatenate([one.scores for one in single]))
    hint = "predict each row by itself: no means, ranks or scales over the rows of a call"
    yield _same("alone", together, alone, "alone than among others", hint)


def _any_order(runner: Runner, frame: DataFrame, answer: Answer, rng: np.random.Generator) -> Iterator[Finding]:
    order = rng.permutation(len(frame))
    shuffled = runner.answer(frame.iloc[order].reset_index(drop=True))
    hint = "predict each row by itself: an answer must not depend on its neighbours"
    yield _same("order", Answer(scores=answer.scores[order]), shuffled, "in another order", hint)


def _collapsed(evidence: Evidence) -> Iterator[Finding]:
    scores = _flat(evidence.answer)
    labels, predicted = evidence.labelled.labels, evidence.outcomes.predicted
    spread = float(np.ptp(scores, axis=0).max())
    constant = spread <= _ABSOLUTE
    told, bad = f"the answers to {len(scores)} holdout rows span {spread:.3g}", constant
    if evidence.candidate.classes and not constant:
        share = np.unique(labels[labels >= 0], return_counts=True)[1] / max(len(labels), 1)
        said = len(np.unique(predicted))
        expected = int((share >= _RARE).sum())
        bad = said == 1 and expected > 1 and bool((np.sort(share)[-2:] >= 0.2).all())
        told += f", and {said} of {expected} classes that are in the holdout are ever predicted"
    yield Finding(
        name="collapsed",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=told,
        hint="it says the same whatever it is asked: look at its inputs, its imputer and its threshold" if bad else "",
        figures={"spread": rounded(spread)},
    )


def _tampered(runner: Runner, frame: DataFrame, column: str, value: Any) -> Answer | None:
    """The answer with one column set to a value in every row; None when the model refuses the rows clearly."""
    changed = frame.head(_TAMPERED).copy()
    changed[column] = pd.Series([value] * len(changed), dtype=object if isinstance(value, str) else None)
    try:
        return runner.answer(changed)
    except Invalid:
        return None


def _told_columns(name: str, bad: dict[str, str], asked: int, good: str, hint: str) -> Finding:
    shown = "; ".join(f"{column}: {what}" for column, what in list(bad.items())[:3])
    more = f" (and {len(bad) - 3} more)" if len(bad) > 3 else ""
    return Finding(
        name=name,
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"{shown}{more}" if bad else f"{asked} columns {good}",
        hint=hint if bad else "",
        figures={"columns": asked, "bad": sorted(bad)},
    )


def _scalars(evidence: Evidence) -> list[Column]:
    return [column for column in evidence.candidate.signature.inputs if not column.shape]


def _gaps(evidence: Evidence, runner: Runner, frame: DataFrame, answer: Answer) -> Iterator[Finding]:
    """A column without values must not make the answer no number, nor the same for everybody."""
    optional = [column for column in _scalars(evidence) if column.optional]
    spread = float(np.ptp(_flat(answer)[:_TAMPERED], axis=0).max())
    bad: dict[str, str] = {}
    for column in optional:
        found = _tampered(runner, frame, column.name, None if column.kind is Kind.TEXT else np.nan)
        if found is None:
            bad[column.name] = "is refused without a value, and the signature says that it may be left out"
        elif not np.isfinite(_flat(found)).all():
            bad[column.name] = "without a value, the answer is no number"
        elif spread > 1e-3 and float(np.ptp(_flat(found), axis=0).max()) <= _ABSOLUTE and len(_scalars(evidence)) > 1:
            bad[column.name] = "without a value, everybody gets the same answer"
    yield _told_columns("gaps", bad, len(optional), "may be missing", "impute what may be missing inside the model")


def _extremes(evidence: Evidence, runner: Runner, frame: DataFrame) -> Iterator[Finding]:
    numeric = [column for column in _scalars(evidence) if column.kind in (Kind.NUMBER, Kind.INTEGER)]
    bad: dict[str, str] = {}
    for column in numeric:
        low, high = column.low if column.low is not None else 0.0, column.high if column.high is not None else 1.0
        reach = 10 * max(high - low, 1.0)
        for value in (low - reach, high + reach):
            asked = round(value) if column.kind is Kind.INTEGER else value
            found = _tampered(runner, frame, column.name, asked)
            if found is not None and not np.isfinite(_flat(found)).all():
                bad[column.name] = f"at {asked:.4g}, the answer is no number"
    yield _told_columns("extremes", bad, len(numeric), "far out of range get numbers", "clip what the model is given")


def _unseen(evidence: Evidence, runner: Runner, frame: DataFrame) -> Iterator[Finding]:
    texts = [column for column in _scalars(evidence) if column.kind is Kind.TEXT]
    bad: dict[str, str] = {}
    for column in texts:
        found = _tampered(runner, frame, column.name, "never seen before")
        if found is not None and not np.isfinite(_flat(found)).all():
            bad[column.name] = "with a value never seen, the answer is no number"
    hint = "have the encoder take unknown values (handle_unknown)"
    yield _told_columns("unseen", bad, len(texts), "take or refuse values never seen", hint)
