"""Somebody answers for a gate that did not pass, or forces a version past all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from lockgate.base.errors import Forbidden, GateRefused, Invalid, NotAllowedNow
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import Endpoint, GateReport, Promotion, PromotionState
from lockgate.domain.gates.waivers import LONGEST, Waiver
from lockgate.domain.incidents.records import Incident, IncidentKind
from lockgate.workflows.break_glass import REVIEW_WITHIN, break_glass
from lockgate.workflows.handle_incident import resolve_incident
from lockgate.workflows.handle_waiver import WaiverWish, decide_waiver, request_waiver, revoke_waiver
from tests.workflows.world import World

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def ask(world: World, *, days: float = 7, by: str = "ada", **wish: Any) -> Waiver:
    wished: dict[str, Any] = {"model": "thyroid", "environment": "dev", "gate": "quality"} | wish
    asked = WaiverWish(**wished, expires_at=world.clock.now() + timedelta(days=days))
    return request_waiver(world.store, world.ids, world.configs, asked, world.why(by, "the new scanner has few labels"))


def approve(world: World, waiver: Waiver, by: str = "grace", *, person: bool = True) -> Waiver:
    return decide_waiver(world.store, waiver.id, world.why(by, "until the labels are in"), approve=True, person=person)


def force(world: World, promotion: Promotion, by: str = "root", *, person: bool = True) -> Promotion:
    why = world.why(by, "patients wait")
    return break_glass(world.store, world.ids, world.configs, promotion.id, why, person=person)


@pytest.mark.parametrize("said", [FAIL, UNKNOWN])
def test_an_approved_waiver_lets_a_version_through_and_changes_no_verdict(world: World, said: Verdict) -> None:
    version = world.version(1)
    waiver = approve(world, ask(world))
    promotion = world.promote(version, "dev", PASS, said)
    assert promotion.state is PromotionState.RELEASED
    assert promotion.waivers == (waiver.id,)
    assert "quality is waived by grace until" in promotion.sentence
    assert "the new scanner has few labels" in promotion.sentence
    report = world.get(GateReport, promotion.report or "")
    assert report.verdict is said


@pytest.mark.parametrize(
    "scope",
    [
        {"gate": "regression"},
        {"environment": "test"},
        {"name": "recall"},
        {"version": "thyroid:2"},
    ],
)
def test_a_waiver_covers_nothing_beside_what_it_names(world: World, scope: dict[str, Any]) -> None:
    version = world.version(1)
    world.version(2)
    approve(world, ask(world, **scope))
    promotion = world.promote(version, "dev", FAIL)
    assert promotion.state is PromotionState.REFUSED
    assert promotion.waivers == ()


def test_a_waiver_that_nobody_approved_that_was_revoked_or_that_has_expired_is_void(world: World) -> None:
    version = world.version(1)
    waiver = ask(world, days=1)
    assert world.promote(version, "dev", FAIL).state is PromotionState.REFUSED
    approve(world, waiver)
    world.clock.advance(minutes=60 * 24)
    assert world.promote(version, "dev", FAIL).state is PromotionState.REFUSED
    again = approve(world, ask(world, days=1))
    revoke_waiver(world.store, again.id, world.why("grace", "the labels are in"))
    assert world.promote(version, "dev", FAIL).state is PromotionState.REFUSED


def test_a_waiver_that_expires_while_signatures_are_waited_for_counts_no_longer(world: World) -> None:
    version = world.version(1)
    for environment in ("dev", "test"):
        world.promote(version, environment)
    approve(world, ask(world, environment="prod", days=1))
    waiting = world.promote(version, "prod", FAIL)
    assert waiting.state is PromotionState.AWAITING_APPROVAL
    assert "waived by grace" in waiting.sentence
    world.clock.advance(minutes=60 * 25)
    with pytest.raises(GateRefused):
        world.approve(waiting)


def test_nobody_answers_for_their_own_waiver_nor_does_a_machine_and_nothing_is_decided_twice(world: World) -> None:
    world.version(1)
    waiver = ask(world)
    with pytest.raises(Forbidden, match="asked for themselves"):
        approve(world, waiver, by="ada")
    with pytest.raises(Forbidden, match="machine"):
        approve(world, waiver, by="ci", person=False)
    approve(world, waiver)
    with pytest.raises(NotAllowedNow, match="approved already, by grace"):
        approve(world, waiver)
    with pytest.raises(NotAllowedNow, match="is for the same"):
        ask(world)


def test_an_expired_request_cannot_be_approved(world: World) -> None:
    world.version(1)
    waiver = ask(world, days=1)
    world.clock.advance(minutes=60 * 24)
    with pytest.raises(NotAllowedNow, match="expired"):
        approve(world, waiver)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"gate": "qualty"}, "there is no gate of kind 'qualty'"),
        ({"days": -1}, "is over already"),
        ({"days": LONGEST.days + 1}, "90 days from now is the most"),
        ({"environment": "moon"}, "there is no environment 'moon'"),
    ],
)
def test_a_waiver_that_makes_no_sense_is_refused(world: World, wish: dict[str, Any], told: str) -> None:
    world.version(1)
    with pytest.raises(Invalid) as caught:
        ask(world, **wish)
    assert told in " ".join((caught.value.message, *caught.value.problems))
    assert caught.value.hint
    assert world.all(Waiver) == []


def test_a_forced_promotion_is_live_at_once_and_opens_a_review(world: World) -> None:
    version = world.version(1)
    refused = world.promote(version, "dev", FAIL)
    done = force(world, refused)
    assert done.state is PromotionState.RELEASED
    assert world.get(Endpoint, "thyroid.dev").stable == version.id
    assert done.forced is not None
    assert (done.forced.by, done.forced.reason) == ("root", "patients wait")
    assert "gate quality fails" in done.forced.past
    review = world.get(Incident, done.forced.review)
    assert review.kind is IncidentKind.BREAK_GLASS
    assert review.due_at == world.clock.now() + REVIEW_WITHIN
    actions = [entry.action for entry in world.ledger.entries(limit=10_000)]
    assert actions.count("promotion.forced") == 1


def test_nothing_of_a_model_is_forced_again_before_somebody_else_has_reviewed_it(world: World) -> None:
    first = force(world, world.promote(world.version(1), "dev", FAIL))
    second = world.promote(world.version(2), "dev", FAIL)
    with pytest.raises(NotAllowedNow, match="has not been reviewed yet"):
        force(world, second)
    assert first.forced is not None
    with pytest.raises(Forbidden, match="somebody else has to review"):
        resolve_incident(world.store, first.forced.review, world.why("root", "all fine"))
    resolve_incident(world.store, first.forced.review, world.why("grace", "the gate was right; we added a floor"))
    assert force(world, second).state is PromotionState.RELEASED


def test_machines_and_promotions_that_were_turned_down_or_skip_an_environment_are_not_forced(world: World) -> None:
    refused = world.promote(world.version(1), "dev", FAIL)
    with pytest.raises(Forbidden, match="only people"):
        force(world, refused, by="ci", person=False)
    done = force(world, refused)
    with pytest.raises(NotAllowedNow, match="is released"):
        force(world, done)


def test_alerts_do_not_fall_into_the_review_of_a_forced_promotion(world: World) -> None:
    version = world.version(1)
    for environment in ("dev", "test"):
        world.promote(version, environment)
    force(world, world.promote(version, "prod", FAIL))
    for _ in range(6):
        world.traffic(version, 500, errors={"model_error": 400})
        world.clock.advance(minutes=1)
        world.watch()
    kinds = [incident.kind for incident in world.all(Incident)]
    assert kinds == [IncidentKind.BREAK_GLASS, IncidentKind.ALERT]
