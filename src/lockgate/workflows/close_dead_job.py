"""Tell whoever waits for a job that died that nothing will come of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lockgate.base.clock import Clock
from lockgate.base.errors import NotFound
from lockgate.domain.gates.records import Promotion, PromotionState
from lockgate.domain.registry.records import Version, VersionState
from lockgate.edge_ports import JobBoard, JobState
from lockgate.ports import Store, Transaction, Why
from lockgate.workflows.deliver_outbox import Receiver
from lockgate.workflows.request_promotion import JOB as GATE
from lockgate.workflows.submit_version import JOB as PACKAGE


def close_dead_job(store: Store, board: JobBoard, clock: Clock) -> Receiver:
    """Takes the message of a job's death: its version has failed, or its promotion is refused, for that reason.

    One that somebody has given another chance since is dead no longer, and nothing is closed.
    """

    def receive(payload: dict[str, Any]) -> None:
        why = Why(
            actor="lockgate",
            reason=f"job {payload['id']} died: {payload['error']}",
            at=clock.now(),
            links=(("job", payload["id"]),),
        )
        with store.begin(why) as tx:
            if _lives(board, payload["id"]):
                return
            if payload["kind"] == PACKAGE:
                _fail_version(tx, payload["payload"]["version"], why)
            elif payload["kind"] == GATE:
                _refuse_promotion(tx, payload["payload"]["promotion"], why)

    return receive


def _lives(board: JobBoard, id: str) -> bool:
    try:
        return board.get(id).state not in (JobState.FAILED, JobState.CANCELLED)
    except NotFound:  # forgotten by now
        return False


def _fail_version(tx: Transaction, id: str, why: Why) -> None:
    before = tx.get(Version, id)
    # A message may come twice, and the work may have been done by another attempt.
    if before.state is not VersionState.PACKAGING:
        return
    after = tx.save(
        replace(before, state=VersionState.FAILED, failure=why.reason, hint="lockgate jobs show has what it printed")
    )
    tx.record("version.failed", after, before=before, after=after)


def _refuse_promotion(tx: Transaction, id: str, why: Why) -> None:
    before = tx.get(Promotion, id)
    if before.state is not PromotionState.GATING:
        return
    after = tx.save(
        replace(
            before,
            state=PromotionState.REFUSED,
            sentence=f"the gates could not be judged, so nothing passed: {why.reason}",
        )
    )
    tx.record("promotion.refused", after, before=before, after=after)
