"""The gate that compares how protected groups are treated: Fairlearn's metrics by group, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from fairlearn import metrics as fairlearn
from sklearn.metrics import accuracy_score

from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding, as_one, look_at
from lockgate.adapters.packages.gates.limits import SLICE_ROWS, parts_of
from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult

#: What can be asked of every group; the labels are 1 for the positive class.
METRICS: dict[str, Callable[..., Any]] = {
    "selection_rate": fairlearn.selection_rate,
    "true_positive_rate": fairlearn.true_positive_rate,
    "false_positive_rate": fairlearn.false_positive_rate,
    "accuracy": accuracy_score,
}
_DRAWS, _CONFIDENCE, _MOST_ROWS = 200, 0.95, 20_000


def judge_fairness(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """``by`` names columns, ``metric`` one of `METRICS`; ``gap`` is the largest distance between two groups,
    ``at_least`` a floor for each. A gap passes when it is small enough, fails when it surely is not, and is unknown
    between; groups with too few rows make it unknown."""
    name = str(params["metric"])
    if name not in METRICS:
        raise Invalid(f"there is no fairness metric {name!r}", hint="one of: " + ", ".join(METRICS))
    if evidence.candidate.positive is None:
        raise CannotTell("fairness is measured on models of two classes", hint="use the gate slices instead")
    least = int(params.get("least_rows", SLICE_ROWS))
    looks = [(str(column), partial(_column, evidence, str(column), params, least, rng)) for column in params["by"]]
    found = look_at(looks)
    return as_one("fairness", f"{name} by {', '.join(params['by'])}", found, nothing=f"{name} is alike in all groups")


def _column(
    evidence: Evidence, column: str, params: dict[str, Any], least: int, rng: np.random.Generator
) -> Iterator[Finding]:
    parts = parts_of(evidence, column, 1)
    few = sorted(group for group, rows in parts.items() if len(rows) < least)
    parts = {group: rows for group, rows in parts.items() if len(rows) >= least}
    if len(parts) < 2:
        raise CannotTell(
            f"{column} has {len(parts)} groups of {least} rows or more, and a comparison takes two",
            hint="hold out more rows of these groups",
        )
    frame = _measured(evidence, parts, str(params["metric"]), rng)
    values: Any = frame.by_group
    apart, ends = float(frame.difference()), frame.difference_ci()
    low = float(ends[0])
    told = ", ".join(f"{group} {values[group]:.3g}" for group in values.index)
    figures = {
        "column": column,
        "groups": {str(group): {"value": rounded(float(values[group])), "rows": len(parts[group])} for group in parts},
        "gap": rounded(apart),
        "low": rounded(low),
        "high": rounded(float(ends[1])),
        "few": few,
    }
    what = f"{params['metric']} by {column}: {told}"
    if "gap" in params:
        yield _said(f"gap by {column}", what, apart, low, float(params["gap"]), figures)
    if "at_least" in params:
        yield _floor(column, what, frame, float(params["at_least"]), figures)
    if few:
        raise CannotTell(f"{column} has groups with fewer than {least} rows: {', '.join(few[:5])}", hint="label more")


def _measured(evidence: Evidence, parts: dict[str, Any], metric: str, rng: np.random.Generator) -> Any:
    outcomes = evidence.outcomes
    groups = np.full(len(outcomes), "", dtype=object)
    for group, rows in parts.items():
        groups[rows] = group
    kept = np.flatnonzero(groups != "")
    if len(kept) > _MOST_ROWS:
        kept = np.sort(rng.choice(kept, _MOST_ROWS, replace=False))
    return fairlearn.MetricFrame(
        metrics=METRICS[metric],
        y_true=(outcomes.labels[kept] == outcomes.positive).astype(int),
        y_pred=(outcomes.predicted[kept] == outcomes.positive).astype(int),
        sensitive_features=pd.Series(groups[kept], name="group"),
        n_boot=_DRAWS,
        ci_quantiles=[1 - _CONFIDENCE, _CONFIDENCE],
        random_state=int(rng.integers(2**31)),
    )


def _said(name: str, what: str, apart: float, low: float, limit: float, figures: dict[str, Any]) -> Finding:
    verdict = Verdict.PASS if apart <= limit else Verdict.FAIL if low > limit else Verdict.UNKNOWN
    doubt = ", and the excess could be chance" if verdict is Verdict.UNKNOWN else ""
    return Finding(
        name=name,
        verdict=verdict,
        sentence=f"{what}; a gap of {apart:.3g} ({low:.3g} at least), {limit:g} is allowed{doubt}",
        hint="" if verdict is Verdict.PASS else "look at what tells these groups apart, and at their training rows",
        figures=figures,
    )


def _floor(column: str, what: str, frame: Any, floor: float, figures: dict[str, Any]) -> Finding:
    values, highs = frame.by_group, frame.by_group_ci[1]
    below = [group for group in values.index if values[group] < floor]
    surely = [group for group in below if highs[group] < floor]
    verdict = Verdict.FAIL if surely else Verdict.UNKNOWN if below else Verdict.PASS
    return Finding(
        name=f"floor by {column}",
        verdict=verdict,
        sentence=f"{what}; at least {floor:g} is asked for" + (f", missed by {', '.join(below)}" if below else ""),
        hint="" if verdict is Verdict.PASS else "train on more rows of these groups",
        figures=figures,
    )
