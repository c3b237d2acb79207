"""Environments of one's own, and reality brought in line with a file."""

from __future__ import annotations

import pytest

from lockgate.base.errors import Forbidden, Invalid, NotAllowedNow
from lockgate.domain.access.records import Action
from lockgate.domain.gates.desired import Move
from lockgate.domain.gates.records import Promotion, PromotionState
from lockgate.workflows.apply_state import Plan, apply_state, plan_state
from lockgate.workflows.check_alias import check_alias
from lockgate.workflows.request_promotion import policy_of, request_promotion
from lockgate.workflows.set_environments import environments_of, set_environments
from lockgate.workflows.submit_version import Submission, submit_version
from tests.workflows.world import World

PLACES = """
environments:
  dev: {}
  clinic: {after: dev, like: prod, approvals: 1}
  prod: {after: [dev, clinic], approvals: 2}
"""


def _anything(action: Action, environment: str) -> None:
    """Somebody who may do everything."""


def _apply(world: World, text: str) -> Plan:
    desired = world.configs.state(text)
    return apply_state(world.store, world.jobs, world.ids, world.configs, desired, world.why(), _anything)


def _moves(plan: Plan) -> dict[str, Move]:
    return {step.endpoint: step.move for step in plan.steps}


def _plan(world: World, text: str) -> dict[str, Move]:
    return _moves(plan_state(world.store, world.configs.state(text)))


def test_a_chain_of_ones_own_is_kept_to_and_asks_for_what_its_stages_ask(world: World) -> None:
    set_environments(world.store, world.configs.state(PLACES).environments or (), world.why())
    version = world.version(1)
    assert world.promote(version, "dev").state is PromotionState.RELEASED
    with pytest.raises(NotAllowedNow, match="only after clinic"):
        request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "prod", world.why())
    with pytest.raises(NotAllowedNow, match="no environment 'test'"):
        request_promotion(world.store, world.jobs, world.ids, world.configs, version.id, "test", world.why())
    promotion = world.promote(version, "clinic")
    assert promotion.state is PromotionState.AWAITING_APPROVAL
    assert world.approve(promotion).state is PromotionState.RELEASED
    with world.store.reading() as tx:
        clinic, dev = (policy_of(tx, world.configs, version, name) for name in ("clinic", "dev"))
        # The model's file asks for one, the environment for two.
        assert policy_of(tx, world.configs, version, "prod").approvals == 2
    assert "regression" in {gate.kind for gate in clinic.gates} - {gate.kind for gate in dev.gates}
    assert check_alias(world.store, "thyroid", "clinic", "1").allowed
    assert not check_alias(world.store, "thyroid", "staging", "1").allowed


def test_an_environment_that_answers_callers_cannot_go(world: World) -> None:
    world.promote(world.version(1), "dev")
    with pytest.raises(NotAllowedNow) as refused:
        set_environments(world.store, world.configs.state("environments: {prod: {}}").environments or (), world.why())
    assert refused.value.problems == ("dev: thyroid.dev still answers callers",)
    with world.store.reading() as tx:
        assert environments_of(tx).names == ("dev", "test", "prod")


def test_a_model_that_names_an_environment_that_is_not_there_is_not_taken(world: World) -> None:
    config = world.config.replace("  prod:\n", "  moon: {approvals: 1}\n  prod:\n")
    asked = Submission(source={"run_id": "r"}, config=config, data={"holdout": world.blobs.put(b"x")})
    with pytest.raises(Invalid) as refused:
        submit_version(world.store, world.jobs, world.blobs, world.configs, asked, world.why())
    assert refused.value.problems == ("environments.moon: there is no environment 'moon'",)


def test_a_plan_tells_every_step_and_changes_nothing(world: World) -> None:
    world.live(1)
    world.version(2)
    entries = len(world.ledger.entries(limit=10_000))
    text = "live:\n  thyroid: {dev: 2, test: 2, prod: 1, moon: 1}\n  sepsis: {dev: 9}\n"
    assert _plan(world, text) == {
        "thyroid.dev": Move.PROMOTE,
        "thyroid.test": Move.LATER,
        "thyroid.prod": Move.IN_PLACE,
        "thyroid.moon": Move.BLOCKED,
        "sepsis.dev": Move.BLOCKED,
    }
    assert len(world.ledger.entries(limit=10_000)) == entries


def test_applying_again_and_again_ends_with_everything_in_place(world: World) -> None:
    world.live(1)
    second = world.version(2)
    text = "live:\n  thyroid: {dev: 2, test: 2, prod: 1}\n"
    for _ in range(2):
        done = _apply(world, text)
        asked = [world.get(Promotion, step.done) for step in done.steps if step.move is Move.PROMOTE]
        assert len(asked) == 1
        assert _moves(_apply(world, text))[f"thyroid.{asked[0].environment}"] is Move.UNDER_WAY
        world.judge(asked[0], second)
    done = _apply(world, text)
    assert not done.drifted
    assert set(_moves(done).values()) == {Move.IN_PLACE}


def test_what_was_live_before_comes_back_without_new_gates(world: World) -> None:
    world.live(1)
    world.completed(2)
    done = _apply(world, "live: {thyroid: {dev: 2, test: 2, prod: 1}}\n")
    assert _moves(done)["thyroid.prod"] is Move.ROLL_BACK
    assert world.endpoint.stable == "thyroid:1"


def test_an_endpoint_the_file_does_not_speak_of_is_told_as_drift(world: World) -> None:
    world.live(1)
    plan = plan_state(world.store, world.configs.state("live: {thyroid: {dev: 1, test: 1}}\n"))
    assert plan.drifted
    assert _moves(plan) == {
        "thyroid.dev": Move.IN_PLACE,
        "thyroid.test": Move.IN_PLACE,
        "thyroid.prod": Move.UNLISTED,
    }


def test_who_may_not_do_one_of_the_steps_does_none(world: World) -> None:
    world.version(1)

    def not_in_dev(action: Action, environment: str) -> None:
        if environment == "dev":
            raise Forbidden("not in dev")

    desired = world.configs.state("environments: {dev: {}, prod: {after: dev}}\nlive: {thyroid: {dev: 1}}\n")
    with pytest.raises(Forbidden):
        apply_state(world.store, world.jobs, world.ids, world.configs, desired, world.why(), not_in_dev)
    assert world.all(Promotion) == []
    with world.store.reading() as tx:
        assert "test" in environments_of(tx).names


def test_environments_and_versions_are_set_in_one_go(world: World) -> None:
    world.version(1)
    done = _apply(world, PLACES + "live:\n  thyroid: {dev: 1, clinic: 1}\n")
    assert [step.move for step in done.steps] == [Move.ENVIRONMENTS, Move.PROMOTE, Move.LATER]
    assert "new: clinic; gone: test; changed: prod" in done.steps[0].sentence
    assert _moves(_apply(world, PLACES + "live:\n  thyroid: {dev: 1, clinic: 1}\n")) == {
        "thyroid.dev": Move.UNDER_WAY,
        "thyroid.clinic": Move.LATER,
    }
