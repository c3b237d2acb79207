"""The gate that compares a candidate with the live version, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates import figures
from lockgate.adapters.packages.gates.limits import CONFIDENCE, LEAST_ROWS, SLICE_ROWS, parts_of
from lockgate.adapters.packages.gates.rowwise import surely_worse
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.monitoring.outcomes import Metric, Outcomes

#: Most rows that are resampled; more take minutes and tell no more.
MOST_ROWS = 200_000
_SLICE_DRAWS = 200
_MOST_TIMES_MORE = 1_000


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """How much better the candidate is than the champion, in the metric's unit; negative is worse."""

    value: float
    #: Standard error of it, by resampling rows.
    error: float
    #: Bootstrap differences, sorted.
    drawn: Floats


def judge_regression(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Not worse than the live version by more than a margin: a paired bootstrap over the rows of the holdout."""
    if evidence.champion is None:
        return _passed("nothing is live yet, so there is nothing to be worse than")
    if evidence.champion.digest == evidence.candidate.digest:
        return _passed("this very package is live")
    metric = evidence.metric(params)
    ours, theirs = evidence.outcomes, evidence.champion_outcomes
    if len(ours) < LEAST_ROWS:
        raise CannotTell(f"{len(ours)} labelled rows, and {LEAST_ROWS} is the least", hint="label more holdout rows")
    margin, confidence = float(params.get("margin", 0.0)), float(params.get("confidence", CONFIDENCE))
    found = _difference(metric, ours, theirs, _draws(len(ours)), rng)
    verdict, sentence, hint = _non_inferior(metric, found, margin, confidence, len(ours))
    slices = _slices_compared(evidence, params, metric, margin, confidence, rng)
    worse = [item for item in slices if item["verdict"] == Verdict.FAIL.value]
    if worse:
        named = ", ".join(f"{item['column']}={item['group']} ({item['difference']:+.4g})" for item in worse[:3])
        verdict, sentence = Verdict.FAIL, f"{sentence}; surely worse than the live version on {named}"
        hint = "look at these groups: they would be served worse than today"
    found_worse, rowwise = surely_worse(evidence, margin)
    if found_worse:
        told = "; ".join(map(str, found_worse[:2]))
        verdict, sentence = Verdict.FAIL, f"{sentence}; surely worse than the live version: {told}"
        hint = hint or "look at these rows: they would be served worse than today"
    return GateResult(
        gate="regression",
        name=metric.name,
        verdict=verdict,
        sentence=sentence,
        hint=hint,
        figures={
            "metric": metric.name,
            "candidate": _measured(metric, ours),
            "champion": _measured(metric, theirs),
            "difference": figures.rounded(found.value),
            "low": figures.rounded(float(np.quantile(found.drawn, 1 - confidence))),
            "high": figures.rounded(float(np.quantile(found.drawn, confidence))),
            "margin": margin,
            "confidence": confidence,
            "rows": len(ours),
            "slices": slices,
            "rowwise": rowwise,
        },
    )


def _passed(sentence: str) -> GateResult:
    return GateResult(gate="regression", name="", verdict=Verdict.PASS, sentence=sentence)


def _measured(metric: Metric, outcomes: Outcomes) -> float | None:
    value = metric.measure(outcomes)
    return figures.rounded(value) if isfinite(value) else None


def _draws(rows: int) -> int:
    """Fewer samples of more rows: their spread is known well enough, and each takes longer."""
    return 1_000 if rows <= 5_000 else 400 if rows <= 50_000 else 200


def _difference(metric: Metric, ours: Outcomes, theirs: Outcomes, draws: int, rng: np.random.Generator) -> _Difference:
    sign = 1.0 if metric.higher_is_better else -1.0

    def better(rows: NDArray[np.int64] | None) -> float:
        pair = (ours, theirs) if rows is None else (ours.take(rows), theirs.take(rows))
        return sign * (metric.measure(pair[0]) - metric.measure(pair[1]))

    value = better(None)
    if not isfinite(value):
        raise CannotTell(f"{metric.name} cannot be measured on these rows: all may be of one class")
    if len(ours) > MOST_ROWS:
        raise CannotTell(f"the holdout has {len(ours):,} rows, and {MOST_ROWS:,} is the most")
    drawn = np.array([better(rng.integers(0, len(ours), len(ours))) for _ in range(draws)])
    drawn = np.sort(drawn[np.isfinite(drawn)])
    if len(drawn) < draws / 2:
        raise CannotTell(f"{metric.name} cannot be measured on samples of these rows: one class is too rare")
    return _Difference(value=value, error=float(np.std(drawn, ddof=1)), drawn=drawn)


def _non_inferior(
    metric: Metric, found: _Difference, margin: float, confidence: float, rows: int
) -> tuple[Verdict, str, str]:
    low, high = (float(np.quantile(found.drawn, level)) for level in (1 - confidence, confidence))
    what = (
        f"{metric.name} is {abs(found.value):.4g} {'better' if found.value >= 0 else 'worse'} than the live version's"
        f" ({_as_difference(low)} with {100 * confidence:g} % confidence) on {rows:,} rows;"
        f" up to {margin:g} worse is allowed"
    )
    if low >= -margin:
        return Verdict.PASS, what, ""
    if high < -margin:
        return Verdict.FAIL, what, "train a better model: this one is surely worse than what is live"
    more = _rows_needed(found, margin, confidence, rows)
    return Verdict.UNKNOWN, f"{what}, and these rows cannot tell", more


def _as_difference(low: float) -> str:
    return f"at least {low:.4g} better" if low >= 0 else f"at most {-low:.4g} worse"


def _rows_needed(found: _Difference, margin: float, confidence: float, rows: int) -> str:
    room = found.value + margin
    if room <= 0:
        return "the figure itself is below the margin: more rows would hardly help"
    times = (float(special.ndtri(confidence)) * found.error / room) ** 2
    if times > _MOST_TIMES_MORE:
        return "the difference is so near to the margin that no number of rows would tell"
    return f"label about {max(ceil(rows * (times - 1)), 1):,} more holdout rows"


def _slices_compared(
    evidence: Evidence,
    params: dict[str, Any],
    metric: Metric,
    margin: float,
    confidence: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Each group's difference; one fails when it is surely below the margin, with chance shared out over the groups."""
    parts = [
        (column, name, rows)
        for column in params.get("slices", ())
        for name, rows in parts_of(evidence, column, SLICE_ROWS).items()
    ]
    distance = float(special.ndtri(1 - (1 - confidence) / max(len(parts), 1)))
    told: list[dict[str, Any]] = []
    for column, name, rows in parts:
        entry: dict[str, Any] = {"column": column, "group": name, "rows": len(rows)}
        try:
            if len(rows) < SLICE_ROWS:
                raise CannotTell("too few rows")
            found = _difference(
                metric, evidence.outcomes.take(rows), evidence.champion_outcomes.take(rows), _SLICE_DRAWS, rng
            )
        except CannotTell as error:
            told.append(entry | {"verdict": Verdict.UNKNOWN.value, "sentence": error.message})
            continue
        surely = found.value + distance * found.error < -margin
        entry["difference"] = figures.rounded(found.value)
        entry["error"] = figures.rounded(found.error)
        told.append(entry | {"verdict": (Verdict.FAIL if surely else Verdict.PASS).value})
    return told
