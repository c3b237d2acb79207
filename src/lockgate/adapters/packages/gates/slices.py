"""The gate that looks at groups of rows: each good enough, and none much worse than another."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, sqrt
from typing import Any

import numpy as np
from scipy import special

from lockgate.adapters.packages.evidence import Evidence
from lockgate.adapters.packages.gates import figures
from lockgate.adapters.packages.gates.limits import CONFIDENCE, SLICE_ROWS, bound, limit_of, parts_of
from lockgate.base.verdict import Verdict, worst
from lockgate.domain.gates.records import GateResult
from lockgate.domain.monitoring.outcomes import Metric, Outcomes
from lockgate.domain.monitoring.quality import Estimate, assess, estimate

_MOST_SENTENCES = 4


@dataclass(frozen=True, kw_only=True)
class _Demand:
    """What is asked of every group."""

    metric: Metric
    limit: float | None
    gap: float | None
    least_rows: int


@dataclass(kw_only=True)
class _Findings:
    """What was found so far."""

    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    sentences: list[str] = field(default_factory=list[str])
    table: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass(frozen=True, kw_only=True)
class _Group:
    """One slice of the holdout."""

    name: str
    rows: int
    found: Estimate
    error: float


def judge_slices(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Hold every group against a limit, the best and the worst against a gap. Chance is shared out over the groups."""
    metric = evidence.metric(params)
    gap = params.get("gap")
    demand = _Demand(
        metric=metric,
        limit=limit_of(metric, params),
        gap=None if gap is None else float(gap),
        least_rows=int(params.get("least_rows", SLICE_ROWS)),
    )
    found = _Findings()
    for column in params["by"]:
        _judge_column(evidence, demand, column, found, rng)
    verdict = worst(found.verdicts)
    told = found.sentences or [f"all groups reach {bound(metric).replace('_', ' ')} {demand.limit:g}"]
    more = f" (and {len(told) - _MOST_SENTENCES} more)" if len(told) > _MOST_SENTENCES else ""
    return GateResult(
        gate="slices",
        name=f"{metric.name} by {', '.join(params['by'])}",
        verdict=verdict,
        sentence="; ".join(told[:_MOST_SENTENCES]) + more,
        hint="" if verdict is Verdict.PASS else "collect more rows of these groups, in training and in holdout",
        figures={"metric": metric.name, "limit": demand.limit, "gap": demand.gap, "slices": found.table},
    )


def _judge_column(evidence: Evidence, demand: _Demand, column: str, found: _Findings, rng: np.random.Generator) -> None:
    parts = parts_of(evidence, column, demand.least_rows)
    confidence = 1 - (1 - CONFIDENCE) / len(parts)
    groups: list[_Group] = []
    for name, rows in parts.items():
        outcomes = evidence.outcomes.take(rows)
        told: dict[str, Any] = {"column": column, "group": name, "rows": len(rows)}
        found.table.append(told)
        group = _group(demand.metric, outcomes, name, demand.least_rows, rng)
        if group is None:
            continue
        groups.append(group)
        told |= figures.of_estimate(group.found)
        if demand.limit is None:
            continue
        said = assess(demand.metric, outcomes, demand.limit, rng, least_rows=demand.least_rows, confidence=confidence)
        found.verdicts.append(said.verdict)
        told["verdict"] = said.verdict.value
        if said.verdict is not Verdict.PASS:
            found.sentences.append(f"{column}={name}: {said.sentence}")
    if not groups:
        found.verdicts.append(Verdict.UNKNOWN)
        few = f"no group of {column} has enough rows to measure {demand.metric.name} ({demand.least_rows} are needed)"
        found.sentences.append(few)
    elif demand.gap is not None:
        verdict, sentence = _gap(demand.metric, groups, demand.gap, column)
        found.verdicts.append(verdict)
        found.sentences.append(sentence)


def _group(metric: Metric, outcomes: Outcomes, name: str, least: int, rng: np.random.Generator) -> _Group | None:
    if len(outcomes) < least:
        return None
    found = estimate(metric, outcomes, rng)
    if found is None:
        return None
    error = (found.high - found.low) / (2 * float(special.ndtri(0.975)))
    return _Group(name=name, rows=len(outcomes), found=found, error=error) if isfinite(error) else None


def _gap(metric: Metric, groups: list[_Group], limit: float, column: str) -> tuple[Verdict, str]:
    sign = 1.0 if metric.higher_is_better else -1.0
    best = max(groups, key=lambda group: sign * group.found.value)
    least = min(groups, key=lambda group: sign * group.found.value)
    apart = sign * (best.found.value - least.found.value)
    what = (
        f"{metric.name} by {column} runs from {least.found.value:.4g} ({least.name}, {least.rows:,} rows)"
        f" to {best.found.value:.4g} ({best.name}, {best.rows:,} rows); a gap of {limit:g} is allowed"
    )
    if len(groups) < 2:
        return Verdict.UNKNOWN, f"only one group of {column} has enough rows, so there is no gap to measure"
    if apart <= limit:
        return Verdict.PASS, what
    pairs = len(groups) * (len(groups) - 1) / 2
    distance = float(special.ndtri(1 - (1 - CONFIDENCE) / pairs)) if pairs else 0.0
    if apart - distance * sqrt(best.error**2 + least.error**2) > limit:
        return Verdict.FAIL, what
    return Verdict.UNKNOWN, f"{what}, and the excess could be chance"
