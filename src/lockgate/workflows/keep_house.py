"""Upkeep that comes by the calendar. Runs in a job's child process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from lockgate.base.clock import Clock
from lockgate.edge_ports import JobBoard
from lockgate.ports import Job, Jobs, Ledger, Store, Why

#: Days that jobs, and dead letters, are kept where nobody says otherwise.
KEEP_DAYS, KEEP_DEAD_DAYS = 30, 90


def prune_jobs(
    job: Job, *, store: Store, jobs: Jobs, board: JobBoard, clock: Clock, forget_logs: Callable[[datetime], int]
) -> dict[str, Any]:
    """Forget jobs that ended long ago; ``forget_logs`` removes what was printed before a time, and gives how much."""
    now = clock.now()
    days = int(job.payload.get("keep_days", KEEP_DAYS))
    dead_days = int(job.payload.get("keep_dead_days", KEEP_DEAD_DAYS))
    ended, died = now - timedelta(days=days), now - timedelta(days=dead_days)
    result = {"logs": forget_logs(min(ended, died))}
    why = Why(actor="lockgate", reason=f"jobs are kept for {days} days, dead letters for {dead_days}", at=now)
    with store.begin(why) as tx:
        result["jobs"] = board.prune(tx, ended, died)
        if result["jobs"]:
            tx.record("jobs.pruned", "jobs/all", after=result)
        jobs.finish(job, tx, result)
    return result


def verify_ledger(job: Job, *, store: Store, jobs: Jobs, ledger: Ledger, clock: Clock) -> dict[str, Any]:
    """Prove the ledger from its first entry on.

    Raises:
        LedgerBroken: naming the first entry that does not fit; the job is laid among the dead letters with it.
    """
    entries, head = ledger.verify()
    result = {"entries": entries, "head": head}
    with store.begin(Why(actor="lockgate", reason="the ledger is proved by the calendar", at=clock.now())) as tx:
        jobs.finish(job, tx, result)
    return result
