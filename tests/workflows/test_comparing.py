"""What is told to be different between two versions."""

from __future__ import annotations

import pytest

from lockgate.base.errors import NotFound
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.compare import Part
from lockgate.workflows.compare_versions import compare_versions
from tests.workflows.world import World


def _told(world: World) -> dict[tuple[Part, str], tuple[str | None, str | None]]:
    found = compare_versions(world.store, world.configs, "thyroid:1", "thyroid:2")
    return {(each.part, each.name): (each.before, each.after) for each in found.differences}


def test_parameters_demands_and_what_the_gates_said_are_compared(world: World) -> None:
    first = world.version(1)
    world.config = world.config.replace("at_least: 0.8}", "at_least: 0.9}", 1)
    second = world.version(2)
    world.promote(first, "dev")
    world.promote(second, "dev", Verdict.FAIL)
    told = _told(world)
    assert told[Part.PARAMETERS, "number"] == ("1", "2")
    assert told[Part.DEMANDS, "quality"] == ("at_least: 0.8, metric: roc_auc", "at_least: 0.9, metric: roc_auc")
    assert told[Part.GATES, "dev quality roc_auc"] == ("pass: roc_auc: pass", "fail: roc_auc: fail")
    assert {part for part, _ in told} == {Part.PARAMETERS, Part.DEMANDS, Part.GATES}


def test_a_gate_that_only_one_of_them_was_asked_is_told_as_missing_in_the_other(world: World) -> None:
    world.version(1)
    world.promote(world.version(2), "dev")
    assert _told(world)[Part.GATES, "dev quality roc_auc"][0] is None


def test_a_version_is_no_different_from_itself(world: World) -> None:
    world.promote(world.version(1), "dev")
    assert compare_versions(world.store, world.configs, "thyroid:1", "thyroid:1").differences == ()


def test_a_version_that_is_not_there_is_told_as_such(world: World) -> None:
    world.version(1)
    with pytest.raises(NotFound, match="thyroid:9"):
        compare_versions(world.store, world.configs, "thyroid:1", "thyroid:9")
