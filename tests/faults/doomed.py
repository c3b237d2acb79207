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

from lockgate.adapters.segments.frames import Batch, Schema
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import SqlJobs
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.clock import SystemClock
from lockgate.base.errors import Conflict, Unavailable
from lockgate.base.ids import RandomIds
from lockgate.dataplane.ids import PredictionIds
from lockgate.domain.registry.records import Model, Risk
from lockgate.ports import Job, Store, Why

#: Seconds that a worker holds a job before others may take it.
LEASE = 0.4


def nursery() -> ForkServerContext:
    """Starts processes that have everything imported already, so that many can die in a short test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.doomed", "tests.faults.controllers"])
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


def record_for_ever(home: Path, source: str, diary: Path) -> None:
    """Write predictions down as a gateway does, and each into a diary once it was promised; segments are small."""
    schema = Schema(
        version="thyroid:1",
        layout="matrix",
        dtype="<f4",
        names=("age",),
        widths=(1,),
        score_dtype="<f4",
        classes=(),
        positive=None,
    )
    writer = SegmentWriter(home / "log" / source, max_bytes=100_000)
    ids = PredictionIds(int.from_bytes(os.urandom(5)))
    promised = os.open(diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    value = b"\0\0\0\0"
    while True:
        together = [ids.new(time.time_ns() // 1_000_000) for _ in range(20)]
        batch = Batch(
            together, [], time.time_ns() // 1000, "thyroid.prod", "thyroid:1", 3, "live", value * 20, value * 20, None
        )
        writer.append(schema, batch, len(together))
        if writer.flush():
            writer.sync()
            if writer.mark == writer.sync_failures:
                os.write(promised, "".join(f"{id}\n" for id in together).encode())
        time.sleep(0.001)


def carry_for_ever(home: Path) -> None:
    """Carry the prediction log into its table, as the job worker does."""
    # Its threads do not survive a fork, so the server that the doomed are forked from must not have it.
    from lockgate.adapters.delta.predictions import DeltaPredictions
    from lockgate.adapters.segments.store import SegmentFolder
    from lockgate.workflows.compact_log import compact_log

    segments, table = SegmentFolder(home / "log"), DeltaPredictions(home / "predictions")
    while True:
        compact_log(segments, table)
        time.sleep(0.05)
