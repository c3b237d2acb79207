"""Stop a rollout: the stable version takes all of the traffic back."""

from __future__ import annotations

from lockgate.base.errors import NotAllowedNow
from lockgate.domain.rollout.records import Rollout
from lockgate.domain.routing.table import RouteTable
from lockgate.ports import Store, Why
from lockgate.workflows.roll_back import roll_back_in


def abort_rollout(store: Store, rollout_id: str, why: Why) -> RouteTable:
    """Abort a rollout that is under way.

    Raises:
        NotFound: no such rollout.
        NotAllowedNow: it is over.
    """
    # Looked at and undone in one transaction: were it to end in between, this would undo something else.
    with store.begin(why) as tx:
        rollout = tx.get(Rollout, rollout_id)
        if rollout.phase.over:
            raise NotAllowedNow(
                f"{rollout.id} is {rollout.phase.value} already",
                hint=f"lockgate rollback {rollout.endpoint} goes back to the version before",
            )
        return roll_back_in(tx, rollout.endpoint, why)
