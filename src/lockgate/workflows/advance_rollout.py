"""Look at the rollouts under way and take each one step further, hold it, or abort it."""

from __future__ import annotations

from lockgate.base.clock import Clock
from lockgate.base.errors import Conflict
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.rollout.guard import Judgement
from lockgate.domain.rollout.records import UNDER_WAY, Rollout
from lockgate.domain.rollout.rules import Abort, Advance, Complete, Hold, Reweigh, moved, next_move
from lockgate.domain.rollout.schedule import shut
from lockgate.ports import Store, Why
from lockgate.workflows.judge_rollout import RolloutJudge
from lockgate.workflows.publish_rollout import publish_rollout

_WORDS = {Hold: "held", Advance: "advanced", Complete: "completed", Abort: "aborted", Reweigh: "reweighed"}


def advance_rollouts(store: Store, judge: RolloutJudge, clock: Clock) -> int:
    """Reconcile every rollout that is not over; gives how many routes changed.

    Each is its own transaction, so that one in trouble holds up no other.
    """
    with store.reading() as tx:
        under_way = tx.find(Rollout, phase=UNDER_WAY, order="created_at")
    return sum(_advance(store, judge, clock, rollout) for rollout in under_way)


def _advance(store: Store, judge: RolloutJudge, clock: Clock, rollout: Rollout) -> bool:
    now = clock.now()
    judgements = judge.judge(rollout, now)
    move = next_move(rollout, judgements, now)
    if isinstance(move, Hold) and not rollout.paused and not shut(rollout.strategy.schedules, now):
        weight = judge.weight(rollout, now)
        if weight is not None:
            move = Reweigh(weight=weight, reason=f"the experiment goes on with {weight / 100:g}% for the candidate")
    if isinstance(move, Hold) and not _tells_more(rollout, judgements, move):
        return False
    why = Why(actor="lockgate", reason=move.reason, at=now, links=(("release", rollout.release),))
    try:
        with store.begin(why) as tx:
            after = tx.save(moved(rollout, move, judgements, now))
            tx.record(f"rollout.{_WORDS[type(move)]}", after, before=rollout, after=after)
            if isinstance(move, Hold):
                return False
            publish_rollout(tx, tx.get(Endpoint, rollout.endpoint), after, why)
    except Conflict:
        # Somebody was faster, a person perhaps: this look is void, and holds up no other rollout.
        return False
    return True


def _tells_more(rollout: Rollout, judgements: tuple[Judgement, ...], move: Hold) -> bool:
    # A row for every look would drown the ledger; what a person reads is kept when a verdict changes.
    known = [(told["name"], told["verdict"]) for told in rollout.judgements]
    if not judgements and not known:
        return move.reason != rollout.reason
    return known != [(told.name, told.verdict.value) for told in judgements]
