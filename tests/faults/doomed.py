"""Processes that are to be killed, and what they do until then."""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import SqlJobs
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.clock import SystemClock
from lockgate.base.errors import Conflict, Unavailable
from lockgate.base.ids import RandomIds
from lockgate.domain.registry.records import Model, Risk
from lockgate.ports import Job, Store, Why

#: Seconds that a worker holds a job before others may take it.
LEASE = 0.4


def nursery() -> ForkServerContext:
    """Starts processes that have everything imported already, so that many can die in a short test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.doomed"])
    return context


def end(process: ForkServerProcess) -> None:
    """kill -9."""
    process.kill()
    process.join(10)
    process.close()


def now_why(actor: str) -> Why:
    return Why(actor=actor, reason="again", at=datetime.now(UTC))


def a_counter(name: str) -> Model:
    return Model(id=name, owner="0", risk=Risk.LOW, created_at=datetime.now(UTC), created_by="test")


def count_up(store: Store, name: str, actor: str) -> int:
    """Add one to a counter, with its entry and its message; gives the new count."""
    with store.begin(now_why(actor)) as tx:
        counter = tx.get(Model, name)
        kept = tx.save(replace(counter, owner=str(int(counter.owner) + 1)))
        tx.record("counter.raised", kept, before=counter, after=kept)
        tx.emit("counter.raised", {"name": name, "count": int(kept.owner)})
    return int(kept.owner)


def count_for_ever(url: str, name: str, diary: Path) -> None:
    """Count up, and write each count down once it was promised."""
    store = SqlStore(Database(url))
    handle = os.open(diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        count = count_up(store, name, name)
        os.write(handle, f"{name} {count}\n".encode())


def jobs_of(database: Database) -> SqlJobs:
    return SqlJobs(database, SystemClock(), RandomIds(), max_attempts=100)


def work_for_ever(url: str, name: str) -> None:
    """Do jobs as a worker does; the effect of each is one count more."""
    database = Database(url, patience=5.0)
    store, jobs = SqlStore(database), jobs_of(database)
    while True:
        # A database that is gone for a while is nothing to die of.
        with suppress(Unavailable):
            job = jobs.lease(name, LEASE)
            if job is not None:
                _do(store, jobs, job, name)
        time.sleep(0.01)


def _do(store: SqlStore, jobs: SqlJobs, job: Job, name: str) -> None:
    with suppress(Conflict):
        for step in range(3):
            time.sleep(0.002)
            jobs.extend(job, LEASE, progress=f"step {step}")
        with store.begin(now_why(name)) as tx:
            counter = tx.get(Model, "effects")
            kept = tx.save(replace(counter, owner=str(int(counter.owner) + 1)))
            tx.record("effect.made", kept, after=kept)
            jobs.finish(job, tx, {"by": name})
