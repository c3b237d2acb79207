"""Give a dead job another chance, and what waited for it, too."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.errors import NotAllowedNow
from lockgate.domain.gates.records import Promotion, PromotionState
from lockgate.domain.registry.records import Version, VersionState
from lockgate.edge_ports import JobBoard, JobState, JobView
from lockgate.ports import Store, Transaction, Why
from lockgate.workflows.request_promotion import JOB as GATE
from lockgate.workflows.request_promotion import OPEN
from lockgate.workflows.submit_version import JOB as PACKAGE

#: Dead letters that one request tries again.
AT_ONCE = 500


def retry_job(store: Store, board: JobBoard, id: str, why: Why) -> JobView:
    """Let a job that failed or was cancelled begin anew.

    The version that failed with it is being packaged again; the promotion that was refused with it is being judged
    again.

    Raises:
        NotFound: no such job.
        NotAllowedNow: it is waiting, running or done, or what it was for has moved on.
    """
    with store.begin(why) as tx:
        before = board.get(id)
        view = board.retry(tx, id)
        if view.kind == PACKAGE:
            _reopen_version(tx, view.payload["version"])
        elif view.kind == GATE:
            _reopen_promotion(tx, view.payload["promotion"])
        tx.record("job.retried", f"job/{id}", before=_told(before), after=_told(view))
    return view


def retry_all(store: Store, board: JobBoard, kind: str, why: Why) -> tuple[list[str], dict[str, str]]:
    """Try every dead letter of a kind again, each by itself.

    Returns:
        The jobs that begin anew, and of each other one why it does not.
    """
    again: list[str] = []
    refused: dict[str, str] = {}
    for dead in board.list(state=JobState.FAILED, kind=kind, limit=AT_ONCE):
        try:
            again.append(retry_job(store, board, dead.id, why).id)
        except NotAllowedNow as error:
            refused[dead.id] = error.message
    return again, refused


def _reopen_version(tx: Transaction, id: str) -> None:
    before = tx.get(Version, id)
    if before.state is VersionState.PACKAGING:
        return  # it has not heard of the death yet
    if before.state is not VersionState.FAILED:
        raise NotAllowedNow(f"{id} is {before.state.value} by now", hint="there is nothing left to do for this job")
    after = tx.save(replace(before, state=VersionState.PACKAGING, failure="", hint=""))
    tx.record("version.reopened", after, before=before, after=after)


def _reopen_promotion(tx: Transaction, id: str) -> None:
    before = tx.get(Promotion, id)
    if before.state is PromotionState.GATING:
        return
    if before.state is not PromotionState.REFUSED or before.report:
        raise NotAllowedNow(
            f"{id} is {before.state.value} by now", hint=f"ask anew: lockgate promote {before.version} …"
        )
    states = [state.value for state in OPEN]
    for other in tx.find(Promotion, version=before.version, environment=before.environment, state=states, limit=1):
        raise NotAllowedNow(f"{other.id} asks the same by now", hint=f"lockgate promotions show {other.id}")
    after = tx.save(replace(before, state=PromotionState.GATING, sentence="the gates are at work"))
    tx.record("promotion.reopened", after, before=before, after=after)


def _told(view: JobView) -> dict[str, object]:
    return {"id": view.id, "kind": view.kind, "state": view.state.value, "attempts": view.attempts, "error": view.error}
