"""Each job is done by one worker at a time, its effect once, and a poisonous one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import DEAD, LOG_TAIL, SqlJobs
from lockgate.adapters.sql.outbox import SqlOutbox
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Conflict, Invalid, NotAllowedNow, NotFound
from lockgate.base.ids import RandomIds
from lockgate.domain.jobs.kinds import JobKind, Offer
from lockgate.domain.registry.records import Model
from lockgate.edge_ports import JobState
from lockgate.ports import Job, Why
from lockgate.testing import FakeClock, SequentialIds
from tests.contract.records import a_model


@pytest.fixture
def jobs(database: Database, clock: FakeClock, ids: SequentialIds) -> SqlJobs:
    return SqlJobs(database, clock, ids, max_attempts=3, chance=lambda: 1.0)


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


def test_what_is_more_urgent_goes_first_and_what_is_equal_by_age(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    wanted = [enqueue(store, jobs, why, kind=kind) for kind in ("regate", "package", "gate", "package")]
    assert [leased(jobs).id for _ in wanted] == [wanted[2], wanted[1], wanted[3], wanted[0]]


def test_a_worker_serves_the_queues_it_is_told_to(store: SqlStore, jobs: SqlJobs, why: Why) -> None:
    prune, gate = (enqueue(store, jobs, why, kind=kind) for kind in ("prune", "gate"))
    assert jobs.lease("w1", 10, Offer(queues=("nothing",))) is None
    found = jobs.lease("w1", 10, Offer(queues=("upkeep", "nothing")))
    assert found is not None
    assert found.id == prune
    assert jobs.lease("w1", 10, Offer(queues=("upkeep",))) is None
    assert leased(jobs).id == gate


def test_jobs_of_one_slot_run_as_many_at_once_as_their_kind_allows(
    store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why
) -> None:
    with store.begin(why) as tx:
        thyroid = [jobs.enqueue(tx, "gate", {}, slot="thyroid") for _ in range(4)]
        other = jobs.enqueue(tx, "gate", {}, slot="spine")
    first, second = leased(jobs), leased(jobs)
    assert [first.id, second.id] == thyroid[:2]
    assert leased(jobs).id == other
    assert jobs.lease("w1", 10) is None
    jobs.fail(first, "no luck", retry=False)
    assert leased(jobs, seconds=20).id == thyroid[2]
    clock.advance(seconds=10)
    # The lease of the second ran out: it is not counted, and it is older than the last one.
    taken = leased(jobs)
    assert (taken.id, taken.attempt) == (second.id, 2)
    assert jobs.lease("w1", 10, Offer(queues=("models",), forms={"gate": (1, 1)})) is not None  # spine, again
    assert jobs.lease("w1", 10) is None


@pytest.mark.parametrize("forms", [{}, {"package": (1, 1)}, {"gate": (2, 3)}, {"gate": (0, 0)}])
def test_a_job_that_no_worker_knows_is_parked_with_the_reason_and_taken_by_one_that_does(
    store: SqlStore, jobs: SqlJobs, why: Why, forms: dict[str, tuple[int, int]]
) -> None:
    id = enqueue(store, jobs, why)
    for _ in range(2):
        assert jobs.lease("old", 10, Offer(forms=forms)) is None
    parked = jobs.get(id)
    assert (parked.state, parked.attempts) == (JobState.PARKED, 0)
    assert "no worker that looked knows jobs of kind 'gate' in form 1" in parked.error
    taken = jobs.lease("new", 10, Offer(forms={"gate": (1, 2)}))
    assert taken is not None
    assert (taken.id, taken.attempt) == (id, 1)


def test_a_hundred_jobs_outlive_a_change_of_code_to_and_fro(
    store: SqlStore, database: Database, clock: FakeClock, ids: SequentialIds, why: Why
) -> None:
    old = SqlJobs(database, clock, ids, kinds={"gate": JobKind(name="gate", form=1)})
    new = SqlJobs(database, clock, ids, kinds={"gate": JobKind(name="gate", form=2), "fly": JobKind(name="fly")})
    knows_old, knows_new = Offer(forms={"gate": (1, 1)}), Offer(forms={"gate": (1, 2), "fly": (1, 1)})
    wanted = {enqueue(store, old, why) for _ in range(40)}
    began = [leased_by(old, knows_old) for _ in range(10)]
    wanted |= {enqueue(store, new, why, kind=kind) for kind in ("gate", "fly") for _ in range(30)}
    # The new code runs, then the old one again, then the new one; those that began die with the old one.
    for jobs, offer, most in ((new, knows_new, 20), (old, knows_old, 1000), (new, knows_new, 1000)):
        for _ in range(most):
            job = jobs.lease("w", 10, offer)
            if job is None:
                break
            with store.begin(why) as tx:
                jobs.finish(job, tx, {})
                tx.record("job.done", f"job/{job.id}")
        stranded = [view for view in old.list(limit=1000) if view.state is JobState.PARKED and not view.error]
        assert stranded == []
        clock.advance(seconds=11)
    assert {view.id for view in old.list(state=JobState.DONE, limit=1000)} == wanted
    for job in began:
        with pytest.raises(Conflict):
            old.extend(job, 10)


def leased_by(jobs: SqlJobs, offer: Offer) -> Job:
    job = jobs.lease("w", 10, offer)
    assert job is not None
    return job


def test_a_dead_letter_is_given_another_chance_with_all_its_attempts(
    store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why
) -> None:
    id = enqueue(store, jobs, why)
    dead = leased(jobs)
    jobs.fail(dead, "no such run", retry=False)
    with store.begin(why) as tx:
        view = jobs.retry(tx, id)
        tx.record("job.retried", f"job/{id}")
    assert (view.state, view.attempts, view.error) == (JobState.QUEUED, 0, "no such run")
    again = leased(jobs)
    assert (again.id, again.attempt) == (id, 1)
    assert again.fence > dead.fence
    with pytest.raises(NotAllowedNow, match="running already") as refused, store.begin(why) as tx:
        jobs.retry(tx, id)
    assert "failed or was cancelled" in refused.value.hint
    assert jobs.get(id).state is JobState.RUNNING


def test_the_last_words_of_a_job_are_kept_after_its_end_and_nobody_elses(
    store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why
) -> None:
    id = enqueue(store, jobs, why)
    late = leased(jobs)
    clock.advance(seconds=11)
    job = leased(jobs)
    with store.begin(why) as tx:
        jobs.finish(job, tx, {})
        tx.record("job.done", f"job/{id}")
    jobs.write(job, "that is all\0\ud800")
    assert jobs.get(id).log == "that is all\ufffd?"
    with pytest.raises(Conflict):
        jobs.write(late, "me too")


def test_queues_are_counted(store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why) -> None:
    assert list(jobs.queues()) == []
    due = clock.now()
    for kind in ("gate", "package", "package", "prune"):
        enqueue(store, jobs, why, kind=kind)
    jobs.fail(leased(jobs), "x", retry=False)
    leased(jobs)
    models, upkeep = jobs.queues()
    assert (models.queue, models.waiting, models.running, models.dead) == ("models", 1, 1, 1)
    assert (upkeep.queue, upkeep.waiting, upkeep.oldest_due_at) == ("upkeep", 1, due)


def test_what_ended_long_ago_is_forgotten_and_what_lives_is_not(
    store: SqlStore, jobs: SqlJobs, clock: FakeClock, why: Why
) -> None:
    done, dead, cancelled, waiting = (enqueue(store, jobs, why) for _ in range(4))
    job = leased(jobs)
    with store.begin(why) as tx:
        jobs.finish(job, tx, {})
        jobs.cancel(tx, cancelled)
        tx.record("job.done", f"job/{done}")
    jobs.fail(leased(jobs), "x", retry=False)
    now = clock.advance(minutes=60)

    def prune(ended: int, died: int) -> int:
        with store.begin(why) as tx:
            tx.record("jobs.pruned", "jobs/all")
            return jobs.prune(tx, now - timedelta(minutes=ended), now - timedelta(minutes=died))

    assert prune(61, 61) == 0
    assert prune(59, 61) == 2
    assert {view.id for view in jobs.list()} == {dead, waiting}
    assert prune(59, 59) == 1
    assert {view.id for view in jobs.list()} == {waiting}
