"""Each job is done by one worker at a time, its effect once, and a poisonous one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import DEAD, LOG_TAIL, SqlJobs
from lockgate.adapters.sql.outbox import SqlOutbox
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Conflict, Invalid, NotAllowedNow, NotFound
from lockgate.base.ids import RandomIds
from lockgate.domain.registry.records import Model
from lockgate.edge_ports import JobState
from lockgate.ports import Job, Why
from lockgate.testing import FakeClock, SequentialIds
from tests.contract.records import a_model


@pytest.fixture
def jobs(database: Database, clock: FakeClock, ids: SequentialIds) -> SqlJobs:
    return SqlJobs(database, clock, ids, max_attempts=3)


def enqueue(store: SqlStore, jobs: SqlJobs, why: Why, kind: str = "gate", key: str = "") -> str:
    with store.begin(why) as tx:
        return jobs.enqueue(tx, kind, {"version": "thyroid:1"}, key=key)


def leased(jobs: SqlJobs, worker: str = "w1", seconds: float = 10) -> Job:
    job = jobs.lease(worker, seconds)
    assert job is not None
    return job


def test_a_job_is_handed_out_with_what_it_was_asked(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    id = enqueue(store, jobs, why)
    assert jobs.get(id).state is JobState.QUEUED
    job = leased(jobs)
    assert job == Job(id=id, kind="gate", payload={"version": "thyroid:1"}, attempt=1, fence=1, requested_by="ada")
    assert jobs.get(id).state is JobState.RUNNING
    assert jobs.lease("w2", 10) is None


def test_jobs_are_handed_out_in_the_order_they_were_wanted(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    wanted = [enqueue(store, jobs, why) for _ in range(3)]
    assert [leased(jobs).id for _ in wanted] == wanted


def test_a_job_is_wanted_with_its_transaction_or_not_at_all(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    def stop_half_way() -> None:
        with store.begin(why) as tx:
            jobs.enqueue(tx, "gate", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_half_way()
    assert jobs.lease("w1", 10) is None


def test_an_equal_key_adds_a_job_once(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    first = enqueue(store, jobs, why, key="gate/1")
    assert enqueue(store, jobs, why, key="gate/1") == first
    assert enqueue(store, jobs, why, key="gate/2") != first
    assert len(jobs.list()) == 2


def test_a_job_is_closed_in_the_transaction_of_its_effect(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    id = enqueue(store, jobs, why)
    job = leased(jobs)

    def finish(then: Callable[[], object]) -> None:
        with store.begin(why) as tx:
            tx.record("model.created", tx.add(a_model("thyroid", why.at)))
            jobs.finish(job, tx, {"passed": True})
            then()

    with pytest.raises(ZeroDivisionError):
        finish(lambda: 1 // 0)
    assert jobs.get(id).state is JobState.RUNNING
    finish(lambda: None)
    assert (jobs.get(id).state, jobs.get(id).result) == (JobState.DONE, {"passed": True})
    with pytest.raises(Conflict), store.begin(why) as tx:
        jobs.finish(job, tx, {})


def test_a_worker_whose_lease_ran_out_can_write_nothing_any_more(
    store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why
) -> None:
    enqueue(store, jobs, why)
    old = leased(jobs, "w1", 10)
    clock.advance(seconds=10)
    new = leased(jobs, "w2", 10)
    assert (new.fence, new.attempt) == (2, 2)

    def finish() -> None:
        with store.begin(why) as tx:
            tx.record("model.created", tx.add(a_model("thyroid", why.at)))
            jobs.finish(old, tx, {})

    for write in (
        finish,
        lambda: jobs.extend(old, 10),
        lambda: jobs.write(old, "x"),
        lambda: jobs.fail(old, "x", retry=True),
        lambda: jobs.fail(old, "x", retry=False),
    ):
        with pytest.raises(Conflict, match="no longer"):
            write()
    with store.reading() as tx:
        assert tx.find(Model) == []
    jobs.extend(new, 10)


def test_a_lease_that_is_extended_is_kept(store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why) -> None:
    id = enqueue(store, jobs, why)
    job = leased(jobs)
    for step in range(4):
        clock.advance(seconds=9)
        jobs.extend(job, 10, progress=f"step {step}")
        assert jobs.lease("w2", 10) is None
    jobs.extend(job, 10)
    assert jobs.get(id).progress == "step 3"


def test_a_failed_job_is_tried_again_ever_later_and_then_laid_among_the_dead(
    store: SqlStore, jobs: SqlJobs, database: Database, clock: FakeClock, why: Why
) -> None:
    id = enqueue(store, jobs, why)
    for wait in (1, 2):
        jobs.fail(leased(jobs), "no luck", retry=True)
        assert (jobs.get(id).state, jobs.get(id).error) == (JobState.QUEUED, "no luck")
        clock.advance(seconds=wait - 0.1)
        assert jobs.lease("w1", 10) is None
        clock.advance(seconds=0.1)
    jobs.fail(leased(jobs), "never", retry=True)
    assert (jobs.get(id).state, jobs.get(id).error, jobs.get(id).attempts) == (JobState.FAILED, "never", 3)
    (told,) = SqlOutbox(database, clock).pending()
    assert (told.topic, told.payload["id"], told.payload["error"]) == (DEAD, id, "never")
    clock.advance(minutes=60)
    assert jobs.lease("w1", 10) is None


def test_a_job_that_cannot_succeed_is_not_tried_again(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    id = enqueue(store, jobs, why)
    jobs.fail(leased(jobs), "no such run", retry=False)
    assert jobs.get(id).state is JobState.FAILED


def test_a_job_that_kills_its_workers_is_laid_among_the_dead_and_the_queue_moves_on(
    store: SqlStore, jobs: SqlJobs, database: Database, clock: FakeClock, why: Why
) -> None:
    poison = enqueue(store, jobs, why, kind="poison")
    for attempt in (1, 2, 3):
        job = leased(jobs)
        assert (job.id, job.attempt) == (poison, attempt)
        clock.advance(seconds=11)
    other = enqueue(store, jobs, why)
    clock.advance(seconds=1)
    assert leased(jobs).id == other
    assert (jobs.get(poison).state, jobs.get(poison).error) == (
        JobState.FAILED,
        "its worker died in each of 3 attempts",
    )
    assert [message.payload["id"] for message in SqlOutbox(database, clock).pending()] == [poison]
    with pytest.raises(Conflict):
        jobs.extend(job, 10)


def test_a_cancelled_job_stops_and_its_worker_is_refused(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    queued, running = enqueue(store, jobs, why), enqueue(store, jobs, why)
    first = leased(jobs)
    assert first.id == queued
    with store.begin(why) as tx:
        view = jobs.cancel(tx, queued)
        jobs.cancel(tx, running)
        tx.record("job.cancelled", f"job/{queued}")
    assert view.state is JobState.CANCELLED
    with pytest.raises(Conflict):
        jobs.extend(first, 10)
    assert jobs.lease("w1", 10) is None
    with pytest.raises(NotAllowedNow, match="cancelled already"), store.begin(why) as tx:
        jobs.cancel(tx, queued)
    with pytest.raises(NotFound), store.begin(why) as tx:
        jobs.cancel(tx, "job_none")


def test_only_the_end_of_a_long_log_is_kept(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    id = enqueue(store, jobs, why)
    job = leased(jobs)
    jobs.write(job, "a" * LOG_TAIL)
    jobs.write(job, "the end")
    log = jobs.get(id).log
    assert len(log) == LOG_TAIL
    assert log.endswith("athe end")


def test_jobs_are_listed_newest_first_by_state_and_kind(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    a, b, c = (enqueue(store, jobs, why, kind=kind) for kind in ("gate", "package", "gate"))
    leased(jobs)
    assert [job.id for job in jobs.list()] == [c, b, a]
    assert [job.id for job in jobs.list(kind="gate")] == [c, a]
    assert [job.id for job in jobs.list(state=JobState.RUNNING)] == [a]
    assert [job.id for job in jobs.list(limit=1, after=c)] == [b]
    with pytest.raises(Invalid):
        jobs.list(after="job_none")
    with pytest.raises(NotFound):
        jobs.get("job_none")


def test_many_workers_never_hold_the_same_job(store: SqlStore, database: Database, clock: FakeClock, why: Why) -> None:
    jobs = SqlJobs(database, clock, RandomIds())
    wanted = {enqueue(store, jobs, why) for _ in range(30)}

    def work(worker: int) -> list[str]:
        held: list[str] = []
        while any(job.state is JobState.QUEUED for job in jobs.list()):
            if job := jobs.lease(str(worker), 60):
                held.append(job.id)
        return held

    with ThreadPoolExecutor(6) as pool:
        held = [id for ids in pool.map(work, range(6)) for id in ids]
    assert len(held) == 30
    assert set(held) == wanted
