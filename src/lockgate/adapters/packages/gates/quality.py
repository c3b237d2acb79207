"""The gate that holds a figure on the holdout against its limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockgate.adapters.packages.evidence import Evidence
from lockgate.adapters.packages.gates import figures
from lockgate.adapters.packages.gates.limits import CONFIDENCE, LEAST_ROWS, bound, limit_of
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.monitoring.outcomes import Metric
from lockgate.domain.monitoring.quality import Estimate, assess, estimate


def judge_quality(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Hold the candidate's figure on the holdout against its limit."""
    metric = evidence.metric(params)
    outcomes = evidence.outcomes
    limit = limit_of(metric, params)
    if limit is None:
        found = estimate(metric, outcomes, rng)
        return GateResult(
            gate="quality",
            name=metric.name,
            verdict=Verdict.UNKNOWN,
            sentence=f"nothing says how good is good enough; {metric.name} is"
            f" {'not known' if found is None else f'{found.value:.4g}'}",
            hint=f"add to lockgate.yaml: gates: [{{quality: {{metric: {metric.name}, {bound(metric)}: ...}}}}]",
            figures=figures.of_estimate(found) | figures.of_outcomes(outcomes),
        )
    confidence = params.get("confidence")
    said = assess(metric, outcomes, limit, rng, least_rows=LEAST_ROWS, confidence=float(confidence or CONFIDENCE))
    verdict, sentence = said.verdict, said.sentence
    if verdict is Verdict.PASS and confidence and said.estimate and not _surely(metric, said.estimate, limit):
        verdict, sentence = (
            Verdict.UNKNOWN,
            f"{sentence}, with a confidence of {confidence:g}, and the interval reaches past it",
        )
    return GateResult(
        gate="quality",
        name=metric.name,
        verdict=verdict,
        sentence=sentence,
        hint=_quality_hint(verdict),
        figures={
            "metric": metric.name,
            "limit": limit,
            **figures.of_estimate(said.estimate),
            **figures.of_outcomes(outcomes),
        },
    )


def _surely(metric: Metric, found: Estimate, limit: float) -> bool:
    return found.low >= limit if metric.higher_is_better else found.high <= limit


def _quality_hint(verdict: Verdict) -> str:
    if verdict is Verdict.FAIL:
        return "train a better model, or change the limit where the people who answer for it agree"
    return "label more holdout rows" if verdict is Verdict.UNKNOWN else ""
