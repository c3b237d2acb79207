"""The gate that times the packaged model, one row at a time on one thread."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.graphs import width
from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Column, Kind, Manifest

_WARM_UP = 50
_ROUNDS = 3
_CALLS = 1_000
#: Seconds that one round may take; a slow model is called fewer times, never fewer than `_LEAST`.
_ROUND_SECONDS = 4.0
_LEAST = 200
_DIFFERENT_ROWS = 200


def judge_latency(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Hold the 99th percentile against its limit.

    The time of each call is measured. Under a load, requests arrive at random and may find the model busy: what they
    wait is worked out from the measured times, which takes no longer than measuring them.
    """
    if not evidence.candidate.signature.inputs:
        raise CannotTell("the model takes no rows that it could be timed with", hint="leave the latency gate out")
    limit, load = float(params["p99_ms"]), params.get("at_rps")
    feeds = _feeds(evidence)
    for feed in feeds[:_WARM_UP]:
        evidence.runner.run(feed)
    rounds = [_timed(evidence, feeds) for _ in range(_ROUNDS)]
    taken = [_with_waiting(times, float(load), rng) if load else times for times in rounds]
    # The middle round: one that something else on the machine disturbed does not decide.
    p99 = float(np.median([np.quantile(times, 0.99) for times in taken]))
    p50 = float(np.median([np.quantile(times, 0.5) for times in taken]))
    calls = sum(len(times) for times in taken)
    where = f" at {load:g} requests a second" if load else ""
    good = p99 <= limit
    return GateResult(
        gate="latency",
        name="p99",
        verdict=Verdict.PASS if good else Verdict.FAIL,
        sentence=f"p99 is {p99:.3g} ms{where} over {calls:,} single rows; at most {limit:g} ms is asked for",
        hint="" if good else "make the model smaller: fewer or shallower trees, fewer columns",
        figures={
            "p99_ms": rounded(p99),
            "p50_ms": rounded(p50),
            "limit_ms": limit,
            "at_rps": load,
            "calls": calls,
            "quantiles_ms": [rounded(float(q)) for q in np.quantile(np.concatenate(taken), np.linspace(0, 1, 51))],
        },
    )


def _timed(evidence: Evidence, feeds: list[dict[str, Any]]) -> Floats:
    """Milliseconds of each call, shape (calls,)."""
    times: list[float] = []
    ends = time.perf_counter() + _ROUND_SECONDS
    while len(times) < _CALLS and (len(times) < _LEAST or time.perf_counter() < ends):
        start = time.perf_counter()
        evidence.runner.run(feeds[len(times) % len(feeds)])
        times.append((time.perf_counter() - start) * 1000)
    return np.array(times)


def _with_waiting(times: Floats, load: float, rng: np.random.Generator) -> Floats:
    """What callers see when one queue is served in turn and arrivals are random (Lindley's recursion)."""
    gaps = rng.exponential(1000 / load, len(times))
    seen = np.empty(len(times))
    waiting = 0.0
    for index, (taken, gap) in enumerate(zip(times, gaps, strict=True)):
        seen[index] = waiting + taken
        waiting = max(0.0, waiting + taken - gap)
    return seen


def example_rows(evidence: Evidence) -> pd.DataFrame:
    """Some rows to ask about: the holdout's own where it has any, else from the ranges of the signature."""
    try:
        return evidence.features(evidence.candidate).head(_DIFFERENT_ROWS)
    except (CannotTell, Invalid):
        return _neutral(evidence.candidate)


def _feeds(evidence: Evidence) -> list[dict[str, Any]]:
    """Single rows."""
    frame = example_rows(evidence)
    return [evidence.runner.feeds(frame.iloc[index : index + 1]) for index in range(len(frame))]


def _neutral(manifest: Manifest) -> pd.DataFrame:
    columns = manifest.signature.inputs
    if columns[0].shape:
        return pd.DataFrame(np.zeros((1, width(manifest.signature))))
    return pd.DataFrame({column.name: [_middle(column)] for column in columns})


def _middle(column: Column) -> Any:
    if column.kind is Kind.TEXT:
        return column.categories[0] if column.categories else ""
    if column.kind is Kind.BOOLEAN:
        return False
    middle = ((column.low or 0.0) + (column.high or 0.0)) / 2
    return round(middle) if column.kind is Kind.INTEGER else middle
