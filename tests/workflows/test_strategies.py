"""Every way in which a release can take traffic, from the file to the routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.base.errors import Invalid
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.workflows.pause_rollout import continue_rollout
from lockgate.workflows.roll_back import roll_back
from tests.workflows.world import CONFIG, World

_CANARY = """    rollout:
      - {shadow: 1m}
      - {traffic: 10%, for: 1m}
      - {traffic: 50%, for: 1m}
"""


def world_with(root: Path, entry: str) -> World:
    assert _CANARY in CONFIG
    return World(root, config=CONFIG.replace(_CANARY, "".join(f"    {line}\n" for line in entry.splitlines())))


def last(world: World) -> Rollout:
    return world.all(Rollout)[-1]


def test_blue_green_waits_beside_stable_switches_in_one_generation_and_keeps_the_old_one(tmp_path: Path) -> None:
    world = world_with(tmp_path, "rollout: [{blue_green: {preview: 1m, bake: 2m}}]")
    old, new = world.live(1), world.live(2)
    assert world.shares() == {old.id: ("live", 10_000), new.id: ("warm", 0)}
    world.traffic(old, 500)
    world.advance(minutes=2)
    assert world.shares()[new.id] == ("warm", 0)  # nobody has asked for it by its number yet
    world.traffic(new, 30, role="pinned")
    before = world.table.generation
    world.advance(minutes=0.1)
    assert world.table.generation == before + 1
    assert world.shares() == {new.id: ("live", 10_000), old.id: ("warm", 0)}
    world.traffic(new, 500)
    world.advance(minutes=1)
    assert last(world).phase is Phase.RUNNING
    world.advance(minutes=1.1)
    assert last(world).phase is Phase.COMPLETED
    assert world.shares() == {new.id: ("live", 10_000), old.id: ("warm", 0)}


def test_a_blue_green_that_fails_while_it_bakes_switches_back(tmp_path: Path) -> None:
    world = world_with(tmp_path, "rollout: [{blue_green: {preview: manual, bake: 10m}}]")
    old, new = world.live(1), world.live(2)
    world.advance(minutes=600)
    assert last(world).phase is Phase.HOLDING
    continue_rollout(world.store, last(world).id, world.why("grace", "it answers me well"))
    world.advance()
    assert world.shares()[new.id] == ("live", 10_000)
    world.traffic(new, 200, errors={"model_error": 20})
    world.advance(minutes=0.1)
    assert world.shares() == {old.id: ("live", 10_000)}
    assert "model" not in last(world).reason
    assert "errors: 20 of 200" in last(world).reason


def test_a_linear_rollout_climbs_evenly_and_stops_for_a_person_where_it_is_told_to(tmp_path: Path) -> None:
    world = world_with(
        tmp_path,
        "rollout: [{linear: {from: 10%, step: 15%, every: 1m, to: 40%}}, {pause: manual}, {traffic: 80%, for: 1m}]",
    )
    old, new = world.live(1), world.live(2)
    seen: list[int] = []
    for _ in range(6):
        seen.append(world.shares()[new.id][1])
        world.traffic(old, 800)
        world.traffic(new, 800)
        world.advance(minutes=1.1)
    assert seen == [1_000, 2_500, 4_000, 4_000, 4_000, 4_000]
    continue_rollout(world.store, last(world).id, world.why("grace", "go on"))
    world.advance()
    assert world.shares()[new.id] == ("live", 8_000)


def test_nothing_starts_in_a_freeze_and_a_first_release_can_be_taken_back_before_its_time(tmp_path: Path) -> None:
    entry = "rollout: []\nschedule: {freeze: [{from: 2000-01-01, to: 2099-01-01, because: the audit}]}"
    world = world_with(tmp_path, entry)
    world.live(1)
    assert last(world).phase is Phase.SCHEDULED
    assert world.shares() == {}
    world.advance(minutes=60)
    assert "frozen until 2099-01-01 00:00 UTC (the audit)" in last(world).reason
    roll_back(world.store, "thyroid.prod", world.why("grace", "not this one"))
    assert last(world).phase is Phase.ABORTED
    assert (world.endpoint.candidate, world.endpoint.rollout, world.endpoint.stable) == (None, None, None)


def test_a_release_starts_by_itself_when_its_hours_begin(tmp_path: Path) -> None:
    world = world_with(tmp_path, "rollout: [{shadow: 1m}]\nschedule: {start: 2000-01-01}")
    old, new = world.live(1), world.live(2)
    world.advance()
    assert world.shares() == {old.id: ("live", 10_000), new.id: ("shadow", 10_000)}


def test_an_experiment_declares_its_winner_from_labels(tmp_path: Path) -> None:
    world = world_with(
        tmp_path, "rollout: [{experiment: {metric: accuracy, weights: {candidate: 40%, stable: 60%}, for: 5h}}]"
    )
    old, new = world.live(1), world.live(2)
    assert world.shares() == {old.id: ("live", 6_000), new.id: ("live", 4_000)}
    world.traffic(old, 800)
    world.traffic(new, 800, shift=0.4)
    world.advance(minutes=1)
    assert last(world).phase is Phase.HOLDING
    world.labelled(old, 400, good=False)
    world.labelled(new, 400, good=True)
    world.advance(minutes=0.1)
    assert last(world).phase is Phase.COMPLETED
    assert "the candidate wins" in str(last(world).judgements)


def test_without_labels_an_experiment_goes_on_to_its_end_and_stable_stays(tmp_path: Path) -> None:
    world = world_with(
        tmp_path, "rollout: [{experiment: {metric: accuracy, weights: {candidate: 50%, stable: 50%}, for: 5h}}]"
    )
    old, new = world.live(1), world.live(2)
    for _ in range(4):
        world.traffic(old, 800)
        world.traffic(new, 800)
        world.advance(minutes=74)
    assert world.shares()[new.id] == ("live", 5_000)
    world.advance(minutes=5)
    assert last(world).phase is Phase.ABORTED
    assert "ended undecided: accuracy: no labels for the candidate" in last(world).reason
    assert world.shares() == {old.id: ("live", 10_000)}


def test_the_shares_of_a_bandit_follow_the_labels_within_their_bounds(tmp_path: Path) -> None:
    bandit = "bandit: {least: 10%, most: 70%, every: 5m}"
    world = world_with(
        tmp_path,
        "rollout: [{experiment: {metric: accuracy, weights: {candidate: 20%, stable: 80%}, for: 5h,"
        f" least_labels: 10000, {bandit}}}}}]",
    )
    old, new = world.live(1), world.live(2)
    for version, good in ((old, False), (new, True)):
        world.traffic(version, 800)
        world.labelled(version, 200, good=good)
    world.advance(minutes=4)
    assert world.shares()[new.id] == ("live", 2_000)
    world.advance(minutes=1.1)
    assert world.shares() == {old.id: ("live", 3_000), new.id: ("live", 7_000)}
    generation = world.table.generation
    world.advance(minutes=6)
    assert world.table.generation == generation


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("rollout: [{experiment: {metric: accuracy, weights: {candidate: 50%, stable: 40%}, for: 1h}}]", "come to 90%"),
        (
            "rollout: [{experiment: {metric: revenue, weights: {candidate: 5%, stable: 95%}, for: 1h}}]",
            "'revenue' is not",
        ),
        (
            "rollout: [{experiment: {metric: outcome, weights: {candidate: 5%, stable: 95%}, for: 1h}}]",
            "success is missing",
        ),
        ("rollout: [{linear: {from: 60%, step: 10%, to: 50%, every: 1m}}]", "has no step"),
        ("rollout: [{traffic: 5%, for: 1m}, {preview: manual}]", "a preview comes before any traffic"),
        ("rollout: [{pause: manually}]", "does not fit"),
        ("rollout: [{pause: manual, for: 1m}]", "for: does not go with pause"),
        ("schedule: {zone: Europe/Berln}", "no time zone 'Europe/Berln' — did you mean 'Europe/Berlin'"),
        ("schedule: {open: [mon-fry 09:00-17:00]}", "'fry' is no day"),
        ("schedule: {open: [mon 19:00-17:00]}", "ends before it begins"),
        ("schedule: {freeze: [{from: 2026-12-24, to: 2026-12-20}]}", "ends before it begins"),
        ("schedule: {start: tomorrow}", "'tomorrow' is no time"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_by_its_line(tmp_path: Path, entry: str, problem: str) -> None:
    world = world_with(tmp_path, entry)
    with pytest.raises(Invalid) as refused:
        world.configs.read(world.config)
    assert any(problem in told and "line 1" in told for told in refused.value.problems), refused.value.problems
