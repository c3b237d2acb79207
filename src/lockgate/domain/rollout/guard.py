"""The canary beside the stable version: errors, invalid outputs, latency and predictions.

Each guard gathers evidence that may be looked at after every row (`lockgate.domain.monitoring.shares`), so a bad canary
fails as soon as it shows, however few rows that takes. `GuardSpec.least_samples` binds passes only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt
from typing import Any

import numpy as np

from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.components import Floats
from lockgate.domain.monitoring.layout import Failure
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.monitoring.shares import excess_evidence, worse_evidence
from lockgate.domain.rollout.records import GuardSpec

_P95 = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one guard says of the canary."""

    #: errors, invalid_outputs, latency, predictions; or another rule's own word.
    name: str
    verdict: Verdict
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)


def judge(candidate: Profile, stable: Profile | None, spec: GuardSpec) -> tuple[Judgement, ...]:
    """Judge a canary on everything counted since its step began.

    Without a stable version beside it, the shares of errors and invalid outputs are held to ``spec.error_margin``
    itself; latency and predictions have nothing to be compared with and are not judged.
    """
    failing = (
        _failures("errors", candidate, stable, spec, Failure.MODEL_ERROR, Failure.TIMEOUT),
        _failures("invalid_outputs", candidate, stable, spec, Failure.INVALID_OUTPUT),
    )
    failing += limits(candidate, spec)
    if stable is None:
        return failing
    return (*failing, _latency(candidate, stable, spec), _predictions(candidate, stable, spec))


def limits(candidate: Profile, spec: GuardSpec) -> tuple[Judgement, ...]:
    """Hold a canary to the limits that the file sets without regard to the stable version."""
    found: list[Judgement] = []
    rows = candidate.requests
    if spec.error_limit is not None:
        bad = _count(candidate, (Failure.MODEL_ERROR, Failure.TIMEOUT, Failure.INVALID_OUTPUT))
        share = bad / rows if rows else 0.0
        what = f"error limit: {bad:,} of {rows:,} requests failed ({share:.1%}), at most {spec.error_limit:.1%} at all"
        found.append(_held("error_limit", what, bad, rows, share <= spec.error_limit, spec.error_limit, spec))
    if spec.latency_limit_ms is not None:
        p95, timed = candidate.quantile(_P95), int(candidate.latencies.sum())
        slow = candidate.slower_than(spec.latency_limit_ms * 1000)
        told = "unknown" if p95 is None else f"{p95 / 1000:.1f} ms"
        within = p95 is not None and p95 <= spec.latency_limit_ms * 1000
        what = f"latency limit: p95 {told}, at most {spec.latency_limit_ms:g} ms at all"
        found.append(_held("latency_limit", what, slow, timed, within, 1 - _P95, spec))
    return tuple(found)


def _held(name: str, what: str, bad: int, rows: int, within: bool, limit: float, spec: GuardSpec) -> Judgement:
    evidence = excess_evidence(bad, rows, limit)
    figures = {"bad": bad, "requests": rows, "limit": limit, "evidence": evidence}
    return _judgement(
        name, what, figures, evidence >= 1 / spec.alpha, within, rows, spec.least_samples, spec, "requests"
    )


def _failures(name: str, candidate: Profile, stable: Profile | None, spec: GuardSpec, *kinds: Failure) -> Judgement:
    hits, rows = _count(candidate, kinds), candidate.requests
    share = hits / rows if rows else 0.0
    what = f"{name.replace('_', ' ')}: {hits:,} of {rows:,} requests ({share:.1%})"
    if stable is None:
        hits_beside, rows_beside, share_beside = 0, rows, 0.0
        evidence = excess_evidence(hits, rows, spec.error_margin)
        what += f", at most {spec.error_margin:.1%} allowed"
    else:
        hits_beside, rows_beside = _count(stable, kinds), stable.requests
        share_beside = hits_beside / rows_beside if rows_beside else 0.0
        evidence = worse_evidence(hits, rows, hits_beside, rows_beside, spec.error_margin)
        what += f", stable {hits_beside:,} of {rows_beside:,} ({share_beside:.1%})"
    figures = {
        "failed": hits,
        "requests": rows,
        "share": share,
        "failed_stable": hits_beside,
        "requests_stable": rows_beside,
        "share_stable": share_beside,
        "margin": spec.error_margin,
        "evidence": evidence,
    }
    proven = evidence >= 1 / spec.alpha
    within = share <= share_beside + spec.error_margin
    return _judgement(name, what, figures, proven, within, rows, rows_beside, spec, "requests")


def _latency(candidate: Profile, stable: Profile, spec: GuardSpec) -> Judgement:
    rows, rows_beside = int(candidate.latencies.sum()), int(stable.latencies.sum())
    own, beside = candidate.quantile(_P95), stable.quantile(_P95)
    if own is None or beside is None:
        return _judgement("latency", "latency", {}, False, False, rows, rows_beside, spec, "requests")
    floor = spec.latency_floor_ms * 1000
    limit = max(spec.latency_ratio * beside, floor)
    # Stable's own p95 is uncertain too: fail only above what it may be.
    rank = min(_P95 + 2 * sqrt(_P95 * (1 - _P95) / rows_beside), 1.0)
    slow = candidate.slower_than(max(spec.latency_ratio * (stable.quantile(rank) or beside), floor))
    evidence = excess_evidence(slow, rows, 1 - _P95)
    what = f"latency: p95 {own / 1000:.1f} ms, stable {beside / 1000:.1f} ms, at most {limit / 1000:.1f} ms allowed"
    figures = {
        "p95_ms": own / 1000,
        "p95_stable_ms": beside / 1000,
        "limit_ms": limit / 1000,
        "slow": slow,
        "requests": rows,
        "requests_stable": rows_beside,
        "evidence": evidence,
    }
    proven = evidence >= 1 / spec.alpha
    return _judgement("latency", what, figures, proven, own <= limit, rows, rows_beside, spec, "requests")


def _predictions(candidate: Profile, stable: Profile, spec: GuardSpec) -> Judgement:
    scores, scores_beside = candidate.baseline.score, stable.baseline.score
    if scores is None or scores_beside is None:
        sentence = "predictions: the baseline of one of the versions has no scores to compare"
        return Judgement(name="predictions", verdict=Verdict.UNKNOWN, sentence=sentence)
    counts, counts_beside = candidate.histogram(scores.name), stable.histogram(scores_beside.name)
    rows, rows_beside = int(counts.sum()), int(counts_beside.sum())
    distance = _distance(scores.edges, counts / max(rows, 1), scores_beside.edges, counts_beside / max(rows_beside, 1))
    chance = distance_by_chance(rows, spec.alpha / 2) + distance_by_chance(rows_beside, spec.alpha / 2)
    mean, mean_beside = candidate.mean(scores.name) or 0.0, stable.mean(scores_beside.name) or 0.0
    what = (
        f"predictions: distance {distance:.3f} from stable's, at most {spec.prediction_distance:.3f} allowed"
        f" (mean {mean:.3g}, stable {mean_beside:.3g})"
    )
    figures = {
        "distance": distance,
        "limit": spec.prediction_distance,
        "by_chance": min(chance, 1.0),
        "mean": mean,
        "mean_stable": mean_beside,
        "rows": rows,
        "rows_stable": rows_beside,
    }
    within = distance <= spec.prediction_distance
    proven = not within and distance > chance
    return _judgement("predictions", what, figures, proven, within, rows, rows_beside, spec, "rows")


def distance_by_chance(rows: int, alpha: float) -> float:
    """How far an empirical distribution may ever be from the true one, looked at after every row.

    Holds for all numbers of rows at once with a chance of 1 - alpha (Howard and Ramdas 2022, "Sequential estimation of
    quantiles with applications to A/B testing and best-arm identification", Corollary 2).
    """
    if rows == 0:
        return 1.0
    return 0.85 * sqrt((log(log(np.e * rows)) + 0.8 * log(1612 / alpha)) / rows) if rows > 1 else 1.0


def _distance(edges: Floats, share: Floats, edges_beside: Floats, share_beside: Floats) -> float:
    """Kolmogorov-Smirnov distance of two histograms, or, on different bins, the least it can be."""
    if np.array_equal(edges, edges_beside):
        return float(np.abs(np.cumsum(share) - np.cumsum(share_beside)).max())
    first, second = np.cumsum(share), np.concatenate([[0.0], np.cumsum(share_beside)])
    # The other one's distribution at our edge lies between its values at its own edges around ours.
    low = second[np.searchsorted(edges_beside, edges, side="right")]
    high = second[np.searchsorted(edges_beside, edges, side="left") + 1]
    apart = np.maximum(first[:-1] - high, low - first[:-1])
    return float(max(apart.max(initial=0.0), 0.0))


def _count(profile: Profile, kinds: tuple[Failure, ...]) -> int:
    errors = profile.errors
    return sum(errors[kind] for kind in kinds)


def _judgement(
    name: str,
    what: str,
    figures: dict[str, Any],
    proven: bool,
    within: bool,
    rows: int,
    rows_beside: int,
    spec: GuardSpec,
    unit: str,
) -> Judgement:
    needs = max(spec.least_samples - rows, 0)
    needs_beside = max(spec.least_samples - rows_beside, 0)
    if proven:
        verdict, sentence = Verdict.FAIL, f"{what}: worse beyond doubt"
    elif needs or needs_beside:
        more = [f"{needs:,} more {unit}"] if needs else []
        more += [f"{needs_beside:,} more of stable's"] if needs_beside else []
        verdict, sentence = Verdict.UNKNOWN, f"{what}: needs {' and '.join(more)}"
    elif within:
        verdict, sentence = Verdict.PASS, f"{what}: within the limit"
    else:
        verdict, sentence = Verdict.UNKNOWN, f"{what}: over the limit, but that could still be chance"
    return Judgement(name=name, verdict=verdict, sentence=sentence, figures=figures)
