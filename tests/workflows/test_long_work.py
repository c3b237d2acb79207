"""Dead jobs and what waited for them, schedules, and upkeep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lockgate.base.errors import Exists, Invalid, LedgerBroken, NotAllowedNow, NotFound, Unavailable
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import ModelConfig, Policy
from lockgate.domain.gates.records import Endpoint, GateResult, Promotion, PromotionState
from lockgate.domain.incidents.records import Incident
from lockgate.domain.jobs.kinds import Offer
from lockgate.domain.jobs.schedules import CatchUp, Schedule
from lockgate.domain.registry.manifest import Manifest
from lockgate.edge_ports import JobState
from lockgate.ports import Job
from lockgate.workflows.cancel_job import cancel_job
from lockgate.workflows.close_dead_job import close_dead_job
from lockgate.workflows.deliver_outbox import deliver_outbox
from lockgate.workflows.handle_schedule import (
    ScheduleWish,
    add_first_schedules,
    add_schedule,
    pause_schedule,
    remove_schedule,
    resume_schedule,
    run_schedule,
)
from lockgate.workflows.keep_house import prune_jobs, verify_ledger
from lockgate.workflows.regate_version import regate_version
from lockgate.workflows.request_promotion import request_promotion
from lockgate.workflows.retry_job import retry_all, retry_job
from lockgate.workflows.tick_schedules import tick_schedules
from tests.workflows.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def leased(world: World, **offer: Any) -> Job:
    job = world.jobs.lease("w", 60, Offer(**offer))
    assert job is not None
    return job


def deliver(world: World) -> None:
    deliver_outbox(world.outbox, {"job.dead": [close_dead_job(world.store, world.jobs, world.clock)]})


def ask(world: World, version: str) -> Promotion:
    return request_promotion(world.store, world.jobs, world.ids, world.configs, version, "dev", world.why())[0]


def a_gated(world: World) -> tuple[Promotion, Job]:
    promotion = ask(world, world.version(1).id)
    return promotion, leased(world)


def state_of(world: World, promotion: Promotion) -> PromotionState:
    with world.store.reading() as tx:
        return tx.get(Promotion, promotion.id).state


def test_a_dead_job_begins_anew_and_so_does_the_promotion_that_was_refused_with_it(world: World) -> None:
    promotion, job = a_gated(world)
    world.jobs.fail(job, "the disk was full", retry=False)
    deliver(world)
    assert state_of(world, promotion) is PromotionState.REFUSED
    view = retry_job(world.store, world.jobs, job.id, world.why())
    assert (view.state, view.attempts) == (JobState.QUEUED, 0)
    assert state_of(world, promotion) is PromotionState.GATING
    assert leased(world).id == job.id


def test_word_of_a_death_that_comes_after_another_chance_closes_nothing(world: World) -> None:
    promotion, job = a_gated(world)
    world.jobs.fail(job, "the disk was full", retry=False)
    retry_job(world.store, world.jobs, job.id, world.why())
    deliver(world)
    assert state_of(world, promotion) is PromotionState.GATING


def test_a_job_whose_promotion_was_asked_for_anew_is_not_tried_again(world: World) -> None:
    promotion, job = a_gated(world)
    cancel_job(world.store, world.jobs, job.id, world.why())
    deliver(world)
    again = ask(world, promotion.version)
    before = world.ledger.verify()
    with pytest.raises(NotAllowedNow, match=f"{again.id} asks the same by now"):
        retry_job(world.store, world.jobs, job.id, world.why())
    assert world.jobs.get(job.id).state is JobState.CANCELLED
    assert world.ledger.verify() == before


def test_all_dead_letters_of_a_kind_are_tried_again_each_by_itself(world: World) -> None:
    with world.store.begin(world.why()) as tx:
        ids = [world.jobs.enqueue(tx, "prune", {}) for _ in range(3)]
        tx.record("job.asked", "job/prune")
    for _ in range(2):
        world.jobs.fail(leased(world), "the disk was full", retry=False)
    again, refused = retry_all(world.store, world.jobs, "prune", world.why())
    assert (set(again), refused) == (set(ids[:2]), {})
    assert retry_all(world.store, world.jobs, "prune", world.why()) == ([], {})


def a_schedule(world: World, name: str = "prune", **more: Any) -> Schedule:
    usual: dict[str, Any] = {"name": name, "kind": "prune", "cron": "0 * * * *"}
    wish = ScheduleWish(**{**usual, **more})
    return add_schedule(world.store, wish, world.why())


def tick(world: World) -> int:
    return tick_schedules(world.store, world.jobs, world.clock)


def wanted(world: World) -> int:
    return len(world.jobs.list(limit=10_000))


def test_a_tick_asks_for_one_job_and_the_ledger_tells(world: World) -> None:
    schedule = a_schedule(world, payload={"keep_days": 3})
    assert schedule.next_at == world.clock.now() + timedelta(hours=1)
    assert tick(world) == 0
    world.clock.advance(minutes=60)
    assert (tick(world), tick(world)) == (1, 0)
    job = leased(world, queues=("upkeep",))
    assert (job.kind, job.payload, job.requested_by) == ("prune", {"keep_days": 3}, "lockgate")
    with world.store.reading() as tx:
        after = tx.get(Schedule, "prune")
    assert (after.last_tick, after.last_job) == (world.clock.now(), job.id)
    assert world.ledger.entries(newest_first=True)[0].action == "schedule.ticked"


@pytest.mark.parametrize(("catch_up", "jobs"), [(CatchUp.SKIP, 0), (CatchUp.ONCE, 20), (CatchUp.ALL, 60)])
def test_three_hours_of_silence_with_twenty_schedules(world: World, catch_up: CatchUp, jobs: int) -> None:
    for number in range(20):
        a_schedule(world, f"s{number}", catch_up=catch_up, cron=f"{30 + number} * * * *")
    world.clock.advance(minutes=209)
    assert tick(world) == jobs
    assert (tick(world), wanted(world)) == (0, jobs)


@pytest.mark.parametrize("jumps", [(60, -60), (-60, 60), (60, -60, 60, -60)])
def test_a_clock_that_jumps_to_and_fro_brings_no_tick_twice(world: World, jumps: tuple[int, ...]) -> None:
    a_schedule(world, catch_up=CatchUp.ALL, cron="*/10 * * * *")
    begin = world.clock.now()
    for jump in jumps:
        world.clock.advance(minutes=jump)
        tick(world)
    latest = begin + timedelta(minutes=max(0, *jumps))
    while world.clock.now() < begin + timedelta(hours=3):
        latest = max(latest, world.clock.advance(minutes=1))
        tick(world)
    assert wanted(world) == (latest - begin) // timedelta(minutes=10)


def test_two_jobs_of_one_schedule_never_run_beside_each_other(world: World) -> None:
    a_schedule(world)
    for _ in range(2):
        run_schedule(world.store, world.jobs, "prune", world.why())
    leased(world)
    assert world.jobs.lease("other", 60) is None


def test_a_paused_schedule_asks_for_nothing_and_its_pause_is_not_caught_up_with(world: World) -> None:
    a_schedule(world, catch_up=CatchUp.ALL)
    pause_schedule(world.store, "prune", world.why())
    with pytest.raises(NotAllowedNow, match="paused already"):
        pause_schedule(world.store, "prune", world.why())
    world.clock.advance(minutes=150)
    assert tick(world) == 0
    resumed = resume_schedule(world.store, "prune", world.why())
    assert resumed.next_at == datetime(2026, 5, 1, 15, tzinfo=UTC)
    assert tick(world) == 0
    with pytest.raises(NotAllowedNow, match="not paused"):
        resume_schedule(world.store, "prune", world.why())


def test_a_removed_schedule_is_gone_and_its_name_is_free_without_a_tick_twice(world: World) -> None:
    a_schedule(world)
    world.clock.advance(minutes=60)
    assert tick(world) == 1
    remove_schedule(world.store, "prune", world.why())
    changes: list[Callable[..., object]] = [pause_schedule, resume_schedule, remove_schedule]
    for change in changes:
        with pytest.raises(NotFound, match="no schedule 'prune'"):
            change(world.store, "prune", world.why())
    world.clock.advance(minutes=-30)
    again = a_schedule(world)
    assert again.next_at == datetime(2026, 5, 1, 14, tzinfo=UTC)
    with pytest.raises(Exists):
        a_schedule(world)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Nightly"},
        {"name": ""},
        {"kind": "fly"},
        {"cron": "every day"},
        {"cron": "0 0 30 2 *"},
        {"zone": "Mars/Olympus"},
        {"payload": {"keep_days": 0}},
        {"payload": {"keep_days": "a week"}},
        {"kind": "regate", "payload": {"endpoint": "thyroid.prod", "data": {"holdout": "../etc"}}},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_and_nothing_is_kept(world: World, wrong: dict[str, Any]) -> None:
    before = world.ledger.verify()
    with pytest.raises(Invalid) as refused:
        a_schedule(world, **wrong)
    assert refused.value.hint
    assert world.ledger.verify() == before


def test_the_first_schedules_prune_and_prove(world: World, tmp_path: Path) -> None:
    add_first_schedules(world.store, world.why("lockgate", "first start"))
    for name in ("prune", "verify-ledger"):
        run_schedule(world.store, world.jobs, name, world.why())
    kept: dict[str, Any] = {"store": world.store, "jobs": world.jobs, "clock": world.clock}
    ends: list[datetime] = []

    def forget(end: datetime) -> int:
        ends.append(end)
        return 4

    assert prune_jobs(leased(world), board=world.jobs, forget_logs=forget, **kept) == {"logs": 4, "jobs": 0}
    assert ends == [world.clock.now() - timedelta(days=90)]
    entries, head = world.ledger.verify()
    assert verify_ledger(leased(world), ledger=world.ledger, **kept) == {"entries": entries, "head": head}
    world.clock.advance(timedelta(days=31))
    run_schedule(world.store, world.jobs, "prune", world.why())
    assert prune_jobs(leased(world), board=world.jobs, forget_logs=forget, **kept)["jobs"] == 2
    assert world.ledger.entries(newest_first=True)[0].action == "jobs.pruned"


def test_a_ledger_that_does_not_prove_itself_leaves_its_job_open_to_be_buried(world: World) -> None:
    class Torn:
        def verify(self) -> tuple[int, str]:
            raise LedgerBroken("entry 3 was changed after it was written")

    with world.store.begin(world.why()) as tx:
        id = world.jobs.enqueue(tx, "verify-ledger", {})
        tx.record("job.asked", f"job/{id}")
    with pytest.raises(LedgerBroken):
        verify_ledger(
            leased(world),
            ledger=Torn(),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            store=world.store,
            jobs=world.jobs,
            clock=world.clock,
        )
    assert world.jobs.get(id).state is JobState.RUNNING


class Bench:
    """A workbench that has made up its mind."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def package(
        self, folder: Path, data: Mapping[str, Path], config: ModelConfig, facts: Mapping[str, Any]
    ) -> Manifest:
        raise Unavailable("nothing is packaged here")

    def evaluate(
        self, policy: Policy, candidate: Manifest, champion: Manifest | None, data: Mapping[str, Path]
    ) -> list[GateResult]:
        return [GateResult(gate="quality", name="roc_auc", verdict=self.verdict, sentence="0.71, asked are 0.8")]


def regate(world: World, verdict: Verdict, endpoint: str = "thyroid.dev", **payload: Any) -> dict[str, Any]:
    with world.store.begin(world.why()) as tx:
        id = world.jobs.enqueue(tx, "regate", {"endpoint": endpoint, **payload})
        tx.record("job.asked", f"job/{id}")
    job = leased(world, forms={"regate": (1, 1)})
    kept: dict[str, Any] = {
        name: getattr(world, name) for name in ("store", "jobs", "blobs", "configs", "ids", "clock")
    }
    return regate_version(job, workbench=Bench(verdict), progress=lambda _: None, **kept)


def test_what_is_live_is_judged_again_and_somebody_is_called_when_it_no_longer_passes(world: World) -> None:
    world.live(1)
    newer = world.blobs.put(b"newer rows")
    assert regate(world, Verdict.PASS, data={"holdout": newer})["incident"] == ""
    failed = regate(world, Verdict.FAIL)
    with world.store.reading() as tx:
        (incident,) = tx.find(Incident)
    assert incident.id == failed["incident"]
    assert incident.title == "thyroid:1 on thyroid.dev no longer passes its gates"
    assert "0.71, asked are 0.8" in incident.timeline[0].sentence
    assert regate(world, Verdict.UNKNOWN)["incident"] == incident.id
    with pytest.raises(NotFound):
        regate(world, Verdict.PASS, "nothing.prod")


def test_an_endpoint_without_a_version_is_not_judged(world: World) -> None:
    world.live(1)
    with world.store.begin(world.why()) as tx:
        known = tx.get(Endpoint, "thyroid.dev")
        tx.record("endpoint.emptied", tx.save(replace(known, stable=None)), before=known, after=known)
    with pytest.raises(NotAllowedNow, match=r"nothing is live on thyroid\.dev"):
        regate(world, Verdict.PASS)
