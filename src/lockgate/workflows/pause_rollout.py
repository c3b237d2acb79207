"""Hold a rollout where it is until a person says go on."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.errors import NotAllowedNow
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.ports import Store, Why


def pause_rollout(store: Store, rollout_id: str, why: Why) -> Rollout:
    """Keep the canary at its share; its guards go on judging and may still abort it.

    Raises:
        NotFound: no such rollout.
        NotAllowedNow: it is over.
    """
    return _set_paused(store, rollout_id, why, paused=True)


def continue_rollout(store: Store, rollout_id: str, why: Why) -> Rollout:
    """Let a paused rollout go on; raises as `pause_rollout`."""
    return _set_paused(store, rollout_id, why, paused=False)


def _set_paused(store: Store, rollout_id: str, why: Why, *, paused: bool) -> Rollout:
    with store.begin(why) as tx:
        before = tx.get(Rollout, rollout_id)
        if before.phase.over:
            raise NotAllowedNow(f"{before.id} is {before.phase.value} already")
        if before.phase is Phase.SCHEDULED:
            after = tx.save(replace(before, paused=paused, reason=why.reason))
        elif paused:
            after = tx.save(replace(before, paused=True, phase=Phase.HOLDING, reason=why.reason))
        else:
            # The hold deadline counts from here: neither a pause nor a stage that waits for a person may run it out.
            after = tx.save(replace(before, paused=False, phase=Phase.RUNNING, confirmed_at=why.at, reason=why.reason))
        tx.record("rollout.paused" if paused else "rollout.continued", after, before=before, after=after)
        return after
