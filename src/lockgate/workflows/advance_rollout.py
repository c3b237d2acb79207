"""Look at the rollouts under way and take each one step further, hold it, or abort it."""

from __future__ import annotations

from lockgate.base.clock import Clock
from lockgate.base.errors import CorruptArtifact, Invalid, NotFound
from lockgate.base.verdict import Verdict
from lockgate.base.window import minute_of
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.records import Version
from lockgate.domain.rollout.guard import Judgement, judge
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.domain.rollout.rules import Abort, Advance, Complete, Hold, judged_role, moved, next_move
from lockgate.domain.routing.table import Role
from lockgate.ports import Store, Why
from lockgate.workflows.count_profiles import Counts, feature_sum
from lockgate.workflows.publish_rollout import publish_rollout

_WORDS = {Hold: "held", Advance: "advanced", Complete: "completed", Abort: "aborted"}


def advance_rollouts(store: Store, counts: Counts, clock: Clock) -> int:
    """Reconcile every rollout that is not over; gives how many routes changed.

    Each is its own transaction, so that one in trouble holds up no other.
    """
    with store.reading() as tx:
        under_way = tx.find(Rollout, phase=[Phase.RUNNING, Phase.HOLDING], order="created_at")
    return sum(_advance(store, counts, clock, rollout) for rollout in under_way)


def _advance(store: Store, counts: Counts, clock: Clock, rollout: Rollout) -> bool:
    now = clock.now()
    try:
        judgements = _judge(store, counts, rollout, minute_of(now))
    except (Invalid, CorruptArtifact, NotFound) as error:
        # What cannot be read is unknown: it holds this rollout, and no other.
        sentence = f"the counts cannot be read: {error.message}"
        judgements = (Judgement(name="counts", verdict=Verdict.UNKNOWN, sentence=sentence),)
    move = next_move(rollout, judgements, now)
    if isinstance(move, Hold) and not _tells_more(rollout, judgements):
        return False
    why = Why(actor="lockgate", reason=move.reason, at=now, links=(("release", rollout.release),))
    with store.begin(why) as tx:
        after = tx.save(moved(rollout, move, judgements, now))
        tx.record(f"rollout.{_WORDS[type(move)]}", after, before=rollout, after=after)
        if isinstance(move, Hold):
            return False
        publish_rollout(tx, tx.get(Endpoint, rollout.endpoint), after, why)
    return True


def _judge(store: Store, counts: Counts, rollout: Rollout, minute: int) -> tuple[Judgement, ...]:
    with store.reading() as tx:
        candidate = tx.get(Version, rollout.candidate)
        stable = tx.get(Version, rollout.stable) if rollout.stable else None
    # Counts are kept by the minute, so what came earlier in the step's first minute counts too.
    start, end = minute_of(rollout.step_started_at), minute + 2
    own = _sum(counts, candidate, rollout, judged_role(rollout), start, end)
    beside = _sum(counts, stable, rollout, Role.LIVE, start, end) if stable else None
    if own is None or (stable is not None and beside is None):
        sentence = "one of the versions has no baseline, so nothing can be compared"
        return (Judgement(name="baseline", verdict=Verdict.UNKNOWN, sentence=sentence),)
    return judge(own, beside, rollout.strategy.guard)


def _sum(counts: Counts, version: Version, rollout: Rollout, role: Role, start: int, end: int) -> Profile | None:
    baseline = counts.baseline(version)
    if baseline is None:
        return None
    minutes = counts.minutes(rollout.endpoint, start, end, version.id)
    return feature_sum([minute for minute in minutes if minute.role == role], baseline)


def _tells_more(rollout: Rollout, judgements: tuple[Judgement, ...]) -> bool:
    # A row for every look would drown the ledger; what a person reads is kept when a verdict changes.
    known = [(told["name"], told["verdict"]) for told in rollout.judgements]
    return known != [(told.name, told.verdict.value) for told in judgements]
