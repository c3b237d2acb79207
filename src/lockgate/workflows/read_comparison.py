"""One rollout: the canary against the stable version that runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from lockgate.base.window import minute_of, start_of_minute
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.components import Ints
from lockgate.domain.monitoring.traffic import traffic_of
from lockgate.domain.registry.records import Version
from lockgate.domain.rollout.picture import ComparedMinute, Comparison, Side
from lockgate.domain.rollout.records import Rollout
from lockgate.domain.routing.table import Role
from lockgate.ports import Store
from lockgate.workflows.count_profiles import Counts, Minute, feature_sum, traffic_sum

#: Bars of the score's picture; the profiles count it on a hundred.
BARS = 20
#: Longest time whose single minutes are read.
_LONGEST = timedelta(days=7)


def read_comparison(store: Store, counts: Counts, rollout_id: str, now: datetime) -> Comparison:
    """Both sides since the step began, or over all of a rollout that is over; raises NotFound.

    Counts have the grain of a minute, so the minute in which a step began belongs to it as a whole.
    """
    with store.reading() as tx:
        rollout = tx.get(Rollout, rollout_id)
        candidate = tx.get(Version, rollout.candidate)
        stable = tx.get(Version, rollout.stable) if rollout.stable else None
    end = rollout.finished_at or now
    begin = max(rollout.created_at, end - _LONGEST)
    start = begin if rollout.phase.over else rollout.step_started_at
    minutes = counts.minutes(rollout.endpoint, minute_of(begin), minute_of(end) + 1)
    ours = [each for each in minutes if each.version == candidate.id and each.role != Role.WARM.value]
    theirs = [each for each in minutes if stable and each.version == stable.id and each.role == Role.LIVE.value]
    since = minute_of(start)
    our_step = [each for each in ours if each.minute >= since]
    their_step = [each for each in theirs if each.minute >= since]
    edges, first, second, distance = _scores(counts, candidate, stable, our_step, their_step)
    steps = len(rollout.strategy.steps)
    return Comparison(
        rollout=rollout.id,
        endpoint=rollout.endpoint,
        phase=rollout.phase.value,
        step=min(rollout.step + 1, steps),
        steps=steps,
        start=start,
        end=end,
        candidate=_side(our_step),
        stable=_side(their_step),
        minutes=_by_minute(ours, theirs),
        score_edges=edges,
        candidate_scores=first,
        stable_scores=second,
        score_distance=distance,
        judgements=rollout.judgements,
        sentence=rollout.reason,
    )


def _side(minutes: Sequence[Minute]) -> Side | None:
    if not minutes:
        return None
    traffic = traffic_of(traffic_sum(minutes))
    return Side(
        version=minutes[-1].version,
        role=minutes[-1].role,
        requests=traffic.requests,
        rows=traffic.rows,
        errors=traffic.errors,
        error_share=traffic.error_share,
        p50_ms=traffic.p50_ms,
        p95_ms=traffic.p95_ms,
        p99_ms=traffic.p99_ms,
    )


def _by_minute(ours: Sequence[Minute], theirs: Sequence[Minute]) -> tuple[ComparedMinute, ...]:
    # A rollout may have run for ten thousand minutes, so each is looked up, not searched for.
    ours_at, theirs_at = _at(ours), _at(theirs)
    return tuple(
        ComparedMinute(
            at=start_of_minute(minute),
            candidate=_side(ours_at.get(minute, [])),
            stable=_side(theirs_at.get(minute, [])),
        )
        for minute in sorted(ours_at.keys() | theirs_at.keys())
    )


def _at(minutes: Sequence[Minute]) -> dict[int, list[Minute]]:
    found: dict[int, list[Minute]] = {}
    for each in minutes:
        found.setdefault(each.minute, []).append(each)
    return found


_Scores = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], float | None]
_NONE: _Scores = ((), (), (), None)


def _scores(
    counts: Counts, candidate: Version, stable: Version | None, ours: Sequence[Minute], theirs: Sequence[Minute]
) -> _Scores:
    if stable is None or not ours or not theirs:
        return _NONE
    sides: list[tuple[Ints, Baseline]] = []
    for version, minutes in ((candidate, ours), (stable, theirs)):
        baseline = counts.baseline(version)
        if baseline is None or baseline.score is None:
            return _NONE
        sides.append((feature_sum(minutes, baseline).histogram(baseline.score.name), baseline))
    (first, one), (second, other) = sides
    scores = (one.score, other.score)
    if scores[0] is None or scores[1] is None or not np.array_equal(scores[0].edges, scores[1].edges):
        return _NONE  # two regressions have bins of their own, each from its own training
    if not first.sum() or not second.sum():
        return _NONE
    bounds = np.concatenate([[scores[0].low], scores[0].edges, [scores[0].high]])
    share, share_beside = first / first.sum(), second / second.sum()
    distance = float(np.abs(np.cumsum(share) - np.cumsum(share_beside)).max())
    starts = np.arange(0, len(share), max(1, len(share) // BARS))
    return (
        (*bounds[starts].tolist(), float(bounds[-1])),
        tuple(np.add.reduceat(share, starts).tolist()),
        tuple(np.add.reduceat(share_beside, starts).tolist()),
        distance,
    )
