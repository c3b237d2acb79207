"""Policy files: put in force, tried, taken back."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.base.errors import Exists, Invalid, NotFound, StaleReport
from lockgate.domain.gates.policies import PolicyFile
from lockgate.domain.gates.records import PromotionState
from lockgate.domain.registry.records import Version
from lockgate.workflows.apply_policy import apply_policy, withdraw_policy
from lockgate.workflows.dry_run_policy import DryRun, dry_run_policy
from lockgate.workflows.request_promotion import policy_of
from tests.workflows.world import World

STRICT = """
policy: clinical
rules:
  - in: [prod]
    models: ["thy*"]
    demand:
      - latency: {p99_ms: 10}
      - quality: {metric: auto, at_least: 0.9}
    approvals: 2
"""


def kinds(world: World, version: Version, environment: str) -> dict[str, dict[str, Any]]:
    with world.store.reading() as tx:
        policy = policy_of(tx, world.configs, version, environment)
    return {gate.kind: gate.params for gate in policy.gates} | {"approvals": {"people": policy.approvals}}


def apply(world: World, text: str) -> PolicyFile:
    return apply_policy(world.store, world.configs, text, world.why("root", "the board decided"))


def dry_run(world: World, text: str, days: int = 90) -> DryRun:
    return dry_run_policy(world.store, world.configs, text, days=days, now=world.clock.now())


def test_a_policy_demands_more_of_the_models_it_names_and_nothing_of_others(world: World) -> None:
    version = world.version(1)
    before = kinds(world, version, "prod")
    apply(world, STRICT)
    after = kinds(world, version, "prod")
    assert "latency" not in before
    assert after["latency"] == {"p99_ms": 10}
    assert (before["quality"]["at_least"], after["quality"]["at_least"]) == (0.8, 0.9)
    assert (before["approvals"], after["approvals"]) == ({"people": 1}, {"people": 2})
    assert "latency" not in kinds(world, version, "test")
    apply(world, STRICT.replace("thy*", "icu*"))
    assert kinds(world, version, "prod") == before


def test_a_policy_is_numbered_kept_and_in_the_ledger_and_can_be_taken_back(world: World) -> None:
    first = apply(world, STRICT)
    second = apply(world, STRICT.replace("0.9", "0.95"))
    assert [(file.id, file.active) for file in world.all(PolicyFile)] == [("clinical:1", False), ("clinical:2", True)]
    with pytest.raises(Exists, match="says exactly this"):
        apply(world, second.text)
    withdraw_policy(world.store, "clinical", world.why("root", "it was too much"))
    with pytest.raises(NotFound, match="clinical"):
        withdraw_policy(world.store, "clinical", world.why("root", "again"))
    told = world.ledger.entries(action="policy.applied")
    assert [entry.subject for entry in told] == ["policy-file/clinical:1", "policy-file/clinical:2"]
    assert first.digest != second.digest


def test_a_policy_named_default_takes_the_place_of_the_platforms_own(world: World) -> None:
    version = world.version(1)
    apply(world, "policy: default\nrules:\n  - demand: [{signature: {}}]\n")
    assert set(kinds(world, version, "prod")) == {"signature", "quality", "approvals"}
    withdraw_policy(world.store, "default", world.why("root", "back to the usual"))
    assert "parity" in kinds(world, version, "prod")


def test_a_signature_given_under_an_older_policy_does_not_count(world: World) -> None:
    version = world.version(1)
    world.promote(version, "dev")
    world.promote(version, "test")
    waiting = world.promote(version, "prod")
    apply(world, STRICT)
    with pytest.raises(StaleReport, match="policy"):
        world.approve(waiting)


def test_a_dry_run_tells_what_would_have_been_refused_and_why_and_changes_nothing(world: World) -> None:
    world.live(1)
    entries = len(world.ledger.entries(limit=10_000))
    told = dry_run(world, STRICT)
    (prod,) = (each for each in told.promotions if each.environment == "prod")
    assert prod.state is PromotionState.RELEASED
    assert {finding.gate for finding in prod.findings} >= {"latency", "approvals"}
    assert "it was signed by 1, and 2 are demanded" in {finding.sentence for finding in prod.findings}
    assert (told.judged, told.released) == (3, 3)
    assert len(world.ledger.entries(limit=10_000)) == entries
    assert world.all(PolicyFile) == []


def test_a_dry_run_looks_no_further_back_than_it_is_told(world: World) -> None:
    world.live(1)
    world.clock.advance(minutes=60 * 24 * 10)
    assert dry_run(world, STRICT, days=5).judged == 0
    assert dry_run(world, STRICT, days=30).judged == 3


def test_a_broken_policy_changes_nothing(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        apply(world, STRICT.replace("quality", "qualty"))
    assert any("did you mean 'quality'" in problem for problem in caught.value.problems)
    assert world.all(PolicyFile) == []


def test_a_policy_for_an_environment_that_there_is_not_is_refused(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        apply(world, STRICT.replace("in: [prod]", "in: [moon]"))
    assert "there is no environment 'moon'" in caught.value.problems[0]
