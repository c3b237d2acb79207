"""What it takes to get into an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.base.errors import Forbidden, Invalid, NotAllowedNow, StaleReport
from lockgate.base.verdict import Verdict
from lockgate.domain.access.records import RoleName
from lockgate.domain.gates.config import ModelConfig, Policy
from lockgate.domain.gates.records import Endpoint, GateResult, Promotion, PromotionState
from lockgate.domain.registry.manifest import Manifest
from lockgate.edge_ports import JobState
from lockgate.workflows.add_person import add_person
from lockgate.workflows.approve_promotion import reject_promotion
from lockgate.workflows.change_person import change_person
from lockgate.workflows.check_alias import check_alias
from lockgate.workflows.evaluate_gates import evaluate_gates
from lockgate.workflows.request_promotion import request_promotion
from lockgate.workflows.submit_version import Submission, submit_version
from tests.workflows.world import World


def test_a_version_enters_production_only_by_way_of_dev_and_test(world: World) -> None:
    version = world.version(1)
    with pytest.raises(NotAllowedNow, match="only after test"):
        request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "prod", world.why())
    assert world.promote(version, "dev").state is PromotionState.RELEASED
    assert world.promote(version, "test").state is PromotionState.RELEASED
    assert world.promote(version, "prod").state is PromotionState.AWAITING_APPROVAL


@pytest.mark.parametrize("said", [(Verdict.FAIL,), (Verdict.UNKNOWN,), (Verdict.PASS, Verdict.UNKNOWN)])
def test_without_a_passing_report_nothing_is_released(world: World, said: tuple[Verdict, ...]) -> None:
    promotion = world.promote(world.version(1), "dev", *said)
    assert promotion.state is PromotionState.REFUSED
    assert "roc_auc" in promotion.sentence
    assert world.all(Endpoint) == []


def test_the_second_person_releases_what_the_first_asked_for(world: World) -> None:
    version = world.live(1)
    assert world.endpoint.stable == version.id
    assert world.shares() == {version.id: ("live", 10_000)}


def test_nobody_approves_what_they_asked_for_nor_does_a_machine(world: World) -> None:
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    promotion = world.promote(version, "prod")
    with pytest.raises(Forbidden, match="somebody else"):
        world.approve(promotion, by="ada")
    with pytest.raises(Forbidden, match="machine"):
        world.approve(promotion, by="ci", person=False)
    assert world.endpoint_or_none() is None


def test_the_person_behind_a_machine_does_not_approve_what_the_machine_asked_for(world: World) -> None:
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    why = replace(world.why("ci"), behind="grace")
    asked, _ = request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "prod", why)
    promotion = world.judge(asked, version)
    assert "by somebody other than ci and grace" in promotion.sentence
    with pytest.raises(Forbidden, match="somebody else"):
        world.approve(promotion, by="grace")
    add_person(world.store, "linus", [RoleName.APPROVER], world.why("lockgate"))
    assert world.approve(promotion, by="linus").state is PromotionState.RELEASED


def test_production_can_ask_for_people_of_several_groups_each_counting_once(world: World) -> None:
    world.config = world.config.replace(
        "approvals: 1", "approvals: [{people: 1}, {people: 1, of: safety-board}]\n    approvals_valid: 2d"
    )
    add_person(world.store, "linus", [RoleName.APPROVER], world.why("lockgate"), groups=["safety-board"])
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    promotion = world.promote(version, "prod")
    assert promotion.approvals_needed == 2
    # The board's member signs first; the place of the board stays theirs when anybody else signs later.
    signed = world.approve(promotion, by="linus")
    assert "needs 1 more approval, by somebody other" in signed.sentence
    world.clock.advance(minutes=49 * 60)
    late = world.approve(signed, by="grace")
    assert late.state is PromotionState.AWAITING_APPROVAL
    assert "needs 1 more approval (1 person of safety-board)" in late.sentence


def test_the_signature_of_somebody_who_left_the_board_no_longer_counts(world: World) -> None:
    world.config = world.config.replace("approvals: 1", "approvals: [{people: 1}, {people: 1, of: safety-board}]")
    add_person(world.store, "linus", [RoleName.APPROVER], world.why("lockgate"), groups=["safety-board"])
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    signed = world.approve(world.promote(version, "prod"), by="linus")
    with pytest.raises(Invalid, match="cannot be changed"):
        change_person(world.store, "linus", world.why("root"), groups=["Safety Board"])
    change_person(world.store, "linus", world.why("root"), groups=[])
    assert "of safety-board" in world.approve(signed, by="grace").sentence


def test_an_approval_of_another_report_is_refused_and_nothing_is_kept_of_it(world: World) -> None:
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    promotion = world.promote(version, "prod")
    with pytest.raises(StaleReport):
        world.approve(world.with_report(promotion, "report_9999"))
    assert world.get(type(promotion), promotion.id).approvals == ()


def test_a_report_goes_stale_when_another_version_went_live_meanwhile(world: World) -> None:
    first, second = world.version(1), world.version(2)
    for version in (first, second):
        world.promote(version, "dev")
        world.promote(version, "test")
    waiting = world.promote(second, "prod")
    world.approve(world.promote(first, "prod"))
    with pytest.raises(StaleReport, match="champion"):
        world.approve(waiting)
    assert world.endpoint.stable == first.id


def test_the_same_promotion_is_not_asked_for_twice(world: World) -> None:
    version = world.version(1)
    request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "dev", world.why())
    with pytest.raises(NotAllowedNow, match="asks the same already"):
        request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "dev", world.why())


def test_a_promotion_that_was_turned_down_stays_down(world: World) -> None:
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    promotion = world.promote(version, "prod")
    rejected = reject_promotion(world.store, promotion.id, world.why("grace", "not before the audit"))
    assert "not before the audit" in rejected.sentence
    with pytest.raises(NotAllowedNow, match="rejected"):
        world.approve(promotion)


def test_a_promotion_that_was_turned_down_while_its_gates_were_at_work_stays_down(world: World) -> None:
    version = world.version(1)
    promotion, _ = request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "dev", world.why())
    job = world.jobs.lease("a-worker", 60.0)
    assert job is not None

    class Bench:
        """A workbench on which everything passes, but not before somebody has thought better of it."""

        def package(
            self, folder: Path, data: Mapping[str, Path], config: ModelConfig, facts: Mapping[str, Any]
        ) -> Manifest:
            raise AssertionError(folder)

        def evaluate(
            self, policy: Policy, candidate: Manifest, champion: Manifest | None, data: Mapping[str, Path]
        ) -> list[GateResult]:
            reject_promotion(world.store, promotion.id, world.why("grace", "not this one"))
            return [GateResult(gate="quality", name="roc_auc", verdict=Verdict.PASS, sentence="good")]

    done = evaluate_gates(
        job,
        store=world.store,
        jobs=world.jobs,
        blobs=world.blobs,
        workbench=Bench(),
        configs=world.configs,
        ids=world.ids,
        clock=world.clock,
        progress=lambda _: None,
    )
    assert done["state"] == "rejected"
    kept = world.get(Promotion, promotion.id)
    assert (kept.state, kept.report, kept.release) == (PromotionState.REJECTED, None, None)
    assert "not this one" in kept.sentence
    assert world.all(Endpoint) == []
    assert world.jobs.get(job.id).state is JobState.DONE


def test_a_new_version_is_put_forward_to_the_first_environment_only(world: World) -> None:
    data = {"holdout": world.blobs.put(b"diagnosis")}
    for environment, error in (("prod", NotAllowedNow), ("moon", Invalid)):
        asked = Submission(source={"run_id": "r"}, config=world.config, data=data, to=environment)
        with pytest.raises(error, match=r"only after test|no environment"):
            submit_version(world.store, world.jobs, world.blobs, world.configs, asked, world.why())
    asked = Submission(source={"run_id": "r"}, config=world.config, data=data, to="dev")
    assert submit_version(world.store, world.jobs, world.blobs, world.configs, asked, world.why())[0].number == 1


def test_an_mlflow_alias_points_only_at_what_is_live_in_its_environment(world: World) -> None:
    live, refused = world.live(1), world.version(2)
    world.promote(refused, "dev", Verdict.FAIL)
    assert check_alias(world.store, "thyroid", "Production", "1").allowed
    judged = check_alias(world.store, "thyroid", "champion", "2")
    assert not judged.allowed
    assert refused.id in judged.sentence
    assert not check_alias(world.store, "thyroid", "prod", "77").allowed
    assert not check_alias(world.store, "thyroid", "prod", None).allowed
    assert check_alias(world.store, "thyroid", "my-favourite", "2").allowed
    assert live.id == world.endpoint.stable
