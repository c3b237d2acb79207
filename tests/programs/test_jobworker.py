from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import SqlJobs
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.clock import SystemClock
from lockgate.base.ids import RandomIds
from lockgate.domain.registry.records import Model
from lockgate.edge_ports import JobState, JobView
from lockgate.jobworker.limits import Limits
from lockgate.jobworker.worker import Terms, Worker
from lockgate.ports import Why

HANDLERS = "tests.programs.job_handlers:make"


class Yard:
    """A store, and a worker on it."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        database = Database(url)
        migrate(database)
        self.store = SqlStore(database)
        self.jobs = SqlJobs(database, SystemClock(), RandomIds(), max_attempts=2)
        self._workers: list[tuple[Worker, threading.Thread]] = []

    def ask(self, kind: str, **payload: Any) -> str:
        with self.store.begin(Why(actor="ada", reason="a test", at=SystemClock().now())) as tx:
            id = self.jobs.enqueue(tx, kind, payload)
            tx.record("job.asked", f"job/{id}")
        return id

    def work(self, *, lease: float = 5.0, handlers: str = HANDLERS, **limits: Any) -> Worker:
        terms = Terms(handlers=handlers, limits=Limits(**limits), lease=lease)
        worker = Worker(self.jobs, f"worker-{len(self._workers)}", terms, logs=self.root / "logs")
        thread = threading.Thread(target=worker.run)
        thread.start()
        self._workers.append((worker, thread))
        return worker

    def ended(self, id: str, seconds: float = 60.0) -> JobView:
        return self.until(id, lambda job: job.state not in (JobState.QUEUED, JobState.RUNNING), seconds)

    def until(self, id: str, true: Callable[[JobView], object], seconds: float = 60.0) -> JobView:
        deadline = time.monotonic() + seconds
        while not true(job := self.jobs.get(id)):
            assert time.monotonic() < deadline, f"waited in vain: {job}"
            time.sleep(0.02)
        return job

    def models(self) -> list[str]:
        with self.store.reading() as tx:
            return [model.id for model in tx.find(Model)]

    def stop(self) -> None:
        for worker, thread in self._workers:
            worker.stop()
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    url = f"sqlite:///{tmp_path / 'lockgate.db'}"
    monkeypatch.setenv("TEST_DATABASE", url)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made = Yard(tmp_path, url)
    yield made
    made.stop()


def test_the_effect_of_a_job_and_its_end_are_written_together(yard: Yard):
    id = yard.ask("add", model="thyroid")
    yard.work()
    job = yard.ended(id)
    assert job.state is JobState.DONE
    assert job.result is not None
    assert job.result["model"] == "thyroid"
    assert yard.models() == ["thyroid"]
    printed = yard.root / "logs" / f"{id}.log"
    yard.until(id, lambda _: "said in passing" in printed.read_text())


def test_each_job_has_a_process_of_its_own(yard: Yard):
    ids = [yard.ask("add", model=name) for name in ("a", "b")]
    yard.work()
    pids = {(yard.ended(id).result or {})["pid"] for id in ids}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_progress_is_seen_while_the_job_runs(yard: Yard):
    id = yard.ask("add", model="thyroid", seconds=1)
    yard.work()
    yard.until(id, lambda job: job.progress == "adding it" and job.state is JobState.RUNNING)
    assert yard.ended(id).state is JobState.DONE


@pytest.mark.parametrize(
    ("kind", "attempts", "reason"),
    [
        ("refuse", 1, "the model's file is torn (log it again)"),
        ("wait_for_friends", 2, "the tracking server is away"),
        ("crash", 2, "its process was ended by SIGSEGV"),
        ("gorge", 1, "it needs more memory than a job may use"),
        ("unheard_of", 1, "nobody here knows how to do a job of kind 'unheard_of'"),
    ],
)
def test_a_job_that_cannot_be_done_says_why_and_is_tried_again_only_if_that_may_help(
    yard: Yard, kind: str, attempts: int, reason: str
):
    id = yard.ask(kind)
    yard.work()
    job = yard.ended(id)
    assert job.state is JobState.FAILED
    assert reason in job.error
    assert job.attempts == attempts


def test_a_job_that_hangs_is_ended_with_all_it_started(yard: Yard):
    id = yard.ask("hang")
    yard.work(wall_seconds=1.0)
    job = yard.ended(id)
    assert "it took longer than the 1 s a job may take" in job.error
    inner, folder = job.progress.removeprefix("started ").split(" in ")
    assert not Path(f"/proc/{inner}").exists() or b") Z " in Path(f"/proc/{inner}/stat").read_bytes()
    assert not Path(folder).exists()


def test_what_a_job_leaves_behind_ends_with_it(yard: Yard):
    id = yard.ask("abandon")
    yard.work()
    inner = int(yard.ended(id).error.split()[-1])
    give_up = time.monotonic() + 5
    while Path(f"/proc/{inner}").exists() and b") Z " not in Path(f"/proc/{inner}/stat").read_bytes():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_job_can_neither_loosen_its_limits_nor_end_its_worker_by_nonsense(yard: Yard):
    id = yard.ask("loosen")
    yard.work()
    assert "not allowed to raise maximum limit" in yard.ended(id).error


def test_a_job_that_uses_up_its_processor_time_is_ended(yard: Yard):
    id = yard.ask("spin")
    yard.work(cpu_seconds=2)
    assert "it used more than 2 s of processor time" in yard.until(id, lambda job: job.error).error


def test_what_a_job_prints_is_bounded(yard: Yard):
    id = yard.ask("chatter")
    yard.work()
    assert yard.ended(id).log.endswith("the rest is not kept: a job may print 4 MB\n")
    assert (yard.root / "logs" / f"{id}.log").stat().st_size < 4 * 2**20 + 200


def test_a_cancelled_job_is_dropped_and_leaves_no_trace(yard: Yard):
    id = yard.ask("add", model="thyroid", seconds=2)
    yard.work(lease=0.6)
    yard.until(id, lambda job: job.state is JobState.RUNNING)
    with yard.store.begin(Why(actor="ada", reason="no longer wanted", at=SystemClock().now())) as tx:
        yard.jobs.cancel(tx, id)
        tx.record("job.cancelled", f"job/{id}")
    later = yard.ask("add", model="spine")
    assert yard.ended(later).state is JobState.DONE
    assert yard.models() == ["spine"]


def test_a_stopped_worker_gives_its_job_back_and_another_does_it(yard: Yard):
    id = yard.ask("add", model="thyroid", seconds=1)
    first = yard.work()
    yard.until(id, lambda job: job.progress)
    first.stop()
    yard.until(id, lambda job: job.state is JobState.QUEUED)
    yard.work()
    job = yard.ended(id)
    assert (job.state, job.attempts) == (JobState.DONE, 2)
    assert yard.models() == ["thyroid"]


def test_a_worker_whose_children_cannot_start_takes_no_job(yard: Yard, caplog: pytest.LogCaptureFixture):
    id = yard.ask("add", model="thyroid")
    yard.work(handlers="tests.programs.no_such_module:make")
    deadline = time.monotonic() + 10
    while "no_such_module" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert yard.jobs.get(id).state is JobState.QUEUED


WORKER = """
import sys
from pathlib import Path
from tests.programs.test_jobworker import HANDLERS, Yard
from lockgate.jobworker.limits import Limits
from lockgate.jobworker.worker import Terms, Worker
yard = Yard(Path(sys.argv[1]), sys.argv[2])
Worker(yard.jobs, "doomed", Terms(handlers=HANDLERS, lease=1.5), logs=yard.root / "logs").run()
"""


def test_a_killed_worker_takes_its_child_along_and_its_job_is_done_by_another_once(yard: Yard):
    id = yard.ask("add", model="thyroid", seconds=1)
    worker = subprocess.Popen((sys.executable, "-c", WORKER, str(yard.root), os.environ["TEST_DATABASE"]))
    yard.until(id, lambda job: job.progress)
    worker.kill()
    worker.wait()
    time.sleep(1.2)
    assert yard.models() == [], "the child worked on without its worker"
    yard.work()
    job = yard.ended(id)
    assert (job.state, job.attempts) == (JobState.DONE, 2)
    assert yard.models() == ["thyroid"]
