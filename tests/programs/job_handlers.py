"""Handlers for test_jobworker, made in the child from the environment as the platform's own are."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import SqlJobs
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.clock import SystemClock
from lockgate.base.errors import CorruptArtifact, Unavailable
from lockgate.base.ids import RandomIds
from lockgate.domain.registry.records import Model, Risk
from lockgate.jobworker.spare import Handler
from lockgate.ports import Job, Why

Progress = Callable[[str], None]


def make(env: Mapping[str, str]) -> Mapping[str, Handler]:
    database = Database(env["TEST_DATABASE"])
    clock, ids = SystemClock(), RandomIds()
    store, jobs = SqlStore(database), SqlJobs(database, clock, ids)

    def add_model(job: Job, progress: Progress) -> dict[str, Any]:
        progress("adding it")
        print("said in passing")
        time.sleep(job.payload.get("seconds", 0))
        now = clock.now()
        with store.begin(Why(actor="lockgate", reason="a job", at=now)) as tx:
            model = tx.add(
                Model(id=job.payload["model"], owner="a-team", risk=Risk.LOW, created_at=now, created_by="ada")
            )
            tx.record("model.added", model, after={"model": model.id})
            jobs.finish(job, tx, {"model": model.id, "pid": os.getpid()})
        return {"model": model.id}

    return {
        "add": add_model,
        "refuse": _refuse,
        "wait_for_friends": _unavailable,
        "crash": _crash,
        "hang": _hang,
        "gorge": _gorge,
        "chatter": _chatter,
        "spin": _spin,
        "abandon": _abandon,
        "loosen": _loosen,
    }


def _refuse(job: Job, progress: Progress) -> dict[str, Any]:
    raise CorruptArtifact("the model's file is torn", hint="log it again")


def _unavailable(job: Job, progress: Progress) -> dict[str, Any]:
    raise Unavailable("the tracking server is away")


def _crash(job: Job, progress: Progress) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def _hang(job: Job, progress: Progress) -> dict[str, Any]:
    inner = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"])
    progress(f"started {inner.pid} in {tempfile.mkdtemp()}")
    time.sleep(300)
    return {}


def _abandon(job: Job, progress: Progress) -> dict[str, Any]:
    inner = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"])
    raise CorruptArtifact(f"left behind {inner.pid}")


def _loosen(job: Job, progress: Progress) -> dict[str, Any]:
    os.write(int(sys.argv[1]), b"no message\n7\n")
    if os.geteuid() == 0:
        os.setuid(65_534)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {}


def _gorge(job: Job, progress: Progress) -> dict[str, Any]:
    return {"size": len(bytearray(64 * 2**30))}


def _chatter(job: Job, progress: Progress) -> dict[str, Any]:
    for _ in range(6 * 2**10):
        print("x" * 1023)
    raise CorruptArtifact("that was all")


def _spin(job: Job, progress: Progress) -> dict[str, Any]:
    while True:
        pass
