"""How a release takes traffic, and how it gives it back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lockgate.base.errors import NotAllowedNow, NotFound
from lockgate.domain.gates.records import PromotionState
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.workflows.abort_rollout import abort_rollout
from lockgate.workflows.find_served import find_served
from lockgate.workflows.pause_rollout import continue_rollout, pause_rollout
from lockgate.workflows.roll_back import roll_back
from tests.workflows.world import World


def test_a_healthy_candidate_goes_from_shadow_to_canary_to_all_and_leaves_the_old_one_warm(world: World) -> None:
    old, new = world.live(1), world.live(2)
    assert world.shares() == {old.id: ("live", 10_000), new.id: ("shadow", 10_000)}
    for expected in ((9_000, 1_000), (5_000, 5_000)):
        world.traffic(old, 800)
        world.traffic(new, 800, role="live" if world.shares()[new.id][0] == "live" else "shadow")
        world.advance(minutes=1.1)
        assert world.shares() == {old.id: ("live", expected[0]), new.id: ("live", expected[1])}
    world.traffic(old, 800)
    world.traffic(new, 800)
    world.advance(minutes=1.1)
    assert world.shares() == {new.id: ("live", 10_000), old.id: ("warm", 0)}
    assert (world.endpoint.stable, world.endpoint.previous, world.endpoint.rollout) == (new.id, old.id, None)


def test_a_candidate_whose_answers_are_invalid_is_aborted_before_its_time_is_over(world: World) -> None:
    old, new = world.live(1), world.live(2)
    world.traffic(old, 300)
    world.traffic(new, 60, role="shadow", errors={"invalid_output": 25})
    world.advance(minutes=0.1)
    rollout = world.all(Rollout)[-1]
    assert rollout.phase is Phase.ABORTED
    assert "invalid outputs" in rollout.reason
    assert world.shares() == {old.id: ("live", 10_000)}


def test_without_enough_evidence_a_rollout_holds_and_is_given_up_at_its_deadline(world: World) -> None:
    old, new = world.live(1), world.live(2)
    world.advance(minutes=30)
    assert world.all(Rollout)[-1].phase is Phase.HOLDING
    assert world.shares()[new.id] == ("shadow", 10_000)
    world.advance(minutes=45)
    assert world.all(Rollout)[-1].phase is Phase.ABORTED
    assert world.shares() == {old.id: ("live", 10_000)}


def test_a_paused_rollout_goes_on_only_when_a_person_says_so(world: World) -> None:
    old, new = world.live(1), world.live(2)
    rollout = world.all(Rollout)[-1]
    pause_rollout(world.store, rollout.id, world.why("grace", "let me look"))
    for _ in range(3):
        world.traffic(old, 800)
        world.traffic(new, 800, role="shadow")
        world.advance(minutes=50)
    assert world.shares()[new.id] == ("shadow", 10_000)
    continue_rollout(world.store, rollout.id, world.why("grace", "looks well"))
    world.traffic(old, 800)
    world.traffic(new, 800, role="shadow")
    world.advance(minutes=1.1)
    assert world.shares()[new.id] == ("live", 1_000)


def test_a_person_aborts_a_rollout_once(world: World) -> None:
    old, _ = world.live(1), world.live(2)
    rollout = world.all(Rollout)[-1]
    abort_rollout(world.store, rollout.id, world.why("grace", "wrong day"))
    assert world.shares() == {old.id: ("live", 10_000)}
    with pytest.raises(NotAllowedNow, match="aborted already"):
        abort_rollout(world.store, rollout.id, world.why("grace", "again"))


def test_a_rollback_gives_the_traffic_back_and_keeps_the_one_it_left_warm(world: World) -> None:
    old, new = world.live(1), world.completed(2)
    roll_back(world.store, "thyroid.prod", world.why("grace", "calls from the ward"))
    assert world.shares() == {old.id: ("live", 10_000), new.id: ("warm", 0)}
    assert world.endpoint.stable == old.id
    with pytest.raises(NotAllowedNow, match="no earlier version"):
        roll_back(world.store, "thyroid.prod", world.why("grace", "and further"))
    roll_back(world.store, "thyroid.prod", world.why("grace", "it was the network"), to=new.id)
    assert world.endpoint.stable == new.id


def test_a_rollback_goes_only_to_versions_that_were_live_here(world: World) -> None:
    world.live(1)
    other = world.version(2)
    with pytest.raises(NotFound, match="never fully live"):
        roll_back(world.store, "thyroid.prod", world.why(), to=other.id)


def test_no_rollback_takes_a_canary_past_its_guards(world: World) -> None:
    old, canary = world.live(1), world.live(2)
    with pytest.raises(NotFound, match="never fully live"):
        roll_back(world.store, "thyroid.prod", world.why("grace", "I am in a hurry"), to=canary.id)
    assert world.endpoint.candidate == canary.id
    abort_rollout(world.store, world.all(Rollout)[-1].id, world.why("grace", "wrong day"))
    with pytest.raises(NotFound, match="never fully live"):
        roll_back(world.store, "thyroid.prod", world.why("grace", "right day"), to=canary.id)
    assert world.shares() == {old.id: ("live", 10_000)}


def test_while_a_rollout_is_under_way_no_other_version_comes_in_between(world: World) -> None:
    world.live(1)
    world.live(2)
    third = world.version(3)
    world.promote(third, "dev")
    world.promote(third, "test")
    promotion = world.promote(third, "prod")
    assert promotion.state is PromotionState.REFUSED
    assert "under way" in promotion.sentence


def test_which_version_answered_at_a_moment_can_be_asked_for_ever(world: World) -> None:
    with pytest.raises(NotFound):
        find_served(world.store, "thyroid.prod", world.moment())
    old = world.live(1)
    first = world.moment()
    world.clock.advance(minutes=10)
    new = world.completed(2)
    assert [target.version for target in find_served(world.store, "thyroid.prod", first).route.live] == [old.id]
    now = find_served(world.store, "thyroid.prod", world.moment())
    assert [target.version for target in now.route.live] == [new.id]
    with pytest.raises(NotFound, match="nothing answered"):
        find_served(world.store, "thyroid.prod", first.replace(year=2020))


def test_every_change_of_the_whole_story_is_in_a_chain_that_proves_itself(world: World) -> None:
    world.live(1)
    world.completed(2)
    roll_back(world.store, "thyroid.prod", world.why("grace", "calls from the ward"))
    entries, _ = world.ledger.verify()
    actions = [entry.action for entry in world.ledger.entries(limit=1000)]
    assert entries == len(actions)
    for action in ("promotion.approved", "release.made", "rollout.advanced", "endpoint.rolled_back"):
        assert action in actions
    last = world.ledger.entries(action="endpoint.rolled_back")[0]
    assert (last.actor, last.reason) == ("grace", "calls from the ward")


def test_a_change_that_was_meant_earlier_and_comes_later_turns_no_time_back(world: World) -> None:
    old, new = world.live(1), world.completed(2)
    before = world.table
    meant = replace(world.why("grace", "calls from the ward"), at=before.published_at - timedelta(seconds=1))
    roll_back(world.store, "thyroid.prod", meant)
    assert world.table.published_at == before.published_at
    served = find_served(world.store, "thyroid.prod", world.clock.now())
    assert served.generation == before.generation + 1
    assert [target.version for target in served.route.live] == [old.id] != [new.id]


def test_a_generation_once_published_is_never_changed(world: World) -> None:
    world.live(1)
    table = world.table
    world.completed(2)
    assert world.get(type(table), table.id) == replace(table)


def test_counts_that_cannot_be_read_hold_the_rollout_and_nothing_else(world: World) -> None:
    world.live(1)
    new = world.live(2)
    world.unreadable_counts(new, role="shadow")
    world.advance(minutes=2)
    rollout = world.all(Rollout)[-1]
    assert rollout.phase is Phase.HOLDING
    assert "cannot be read" in rollout.reason
