"""What happens by itself when something breaks in production."""

from __future__ import annotations

from lockgate.domain.alerting.records import Alert, AlertState, SignalKind
from lockgate.domain.incidents.records import Incident, IncidentState
from lockgate.domain.rollout.records import Rollout
from lockgate.workflows.handle_incident import acknowledge_incident, note_incident, resolve_incident
from lockgate.workflows.watch_endpoint import watch_endpoints
from tests.workflows.world import World


def test_quiet_traffic_like_training_raises_nothing(world: World) -> None:
    old, new = world.live(1), world.completed(2)
    world.traffic(new, 2_000)
    world.labelled(new, 600, good=True)
    assert world.watch() == 0
    assert world.all(Alert) == []
    assert (world.endpoint.stable, world.endpoint.previous) == (new.id, old.id)


def test_drift_alone_calls_a_person_and_undoes_nothing(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.traffic(new, 2_000, tsh=1.5)
    assert world.watch() == 0
    (alert,) = world.all(Alert)
    assert (alert.kind, alert.names) == (SignalKind.DRIFT, ("tsh",))
    (incident,) = world.all(Incident)
    assert incident.state is IncidentState.OPEN
    assert [event.kind for event in incident.timeline] == ["alert", "page"]
    assert world.endpoint.stable == new.id


def test_a_breach_that_goes_on_is_one_alert_and_one_incident(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    for _ in range(5):
        world.traffic(new, 1_000, tsh=1.5)
        world.watch()
        world.clock.advance(seconds=40)
    assert len(world.all(Alert)) == 1
    assert len(world.all(Incident)) == 1


def test_drift_holds_a_rollout_until_a_person_has_looked(world: World) -> None:
    old = world.live(1)
    world.live(2)
    world.traffic(old, 2_000, tsh=1.5)
    world.watch()
    rollout = world.all(Rollout)[-1]
    assert rollout.paused
    assert "drift" in rollout.reason


def test_labels_that_show_bad_quality_bring_the_previous_version_back_once(world: World) -> None:
    old = world.live(1)
    new = world.completed(2)
    world.traffic(new, 2_000)
    world.labelled(new, 900, good=False)
    assert world.watch() == 1
    (incident,) = world.all(Incident)
    assert incident.rolled_back
    assert incident.state is IncidentState.MITIGATED
    assert incident.timeline[-1].kind == "rollback"
    assert world.shares() == {old.id: ("live", 10_000), new.id: ("warm", 0)}
    world.clock.advance(minutes=2)
    assert world.watch() == 0
    assert world.endpoint.stable == old.id


def test_too_few_labels_decide_nothing(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.traffic(new, 2_000)
    world.labelled(new, 250, good=False)
    assert world.watch() == 0
    assert world.all(Alert) == []


def test_errors_bring_the_previous_version_back(world: World) -> None:
    old = world.live(1)
    new = world.completed(2)
    world.traffic(new, 1_000, errors={"model_error": 120})
    assert world.watch() == 1
    assert world.endpoint.stable == old.id


def test_nothing_is_undone_over_the_head_of_a_person_who_is_on_it(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.traffic(new, 2_000, tsh=1.5)
    world.watch()
    (incident,) = world.all(Incident)
    acknowledge_incident(world.store, incident.id, world.why("grace", "looking"))
    world.traffic(new, 1_000, errors={"model_error": 300})
    assert world.watch() == 0
    assert world.endpoint.stable == new.id
    assert "a person is at work" in world.all(Incident)[0].timeline[-1].sentence


def test_without_a_previous_version_a_person_is_called(world: World) -> None:
    only = world.live(1)
    world.traffic(only, 1_000, errors={"model_error": 300})
    assert world.watch() == 0
    assert "no previous version" in world.all(Incident)[0].timeline[-1].sentence


def test_an_alert_closes_when_it_has_been_quiet_for_a_while(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.traffic(new, 2_000, tsh=1.5)
    world.watch()
    world.clock.advance(minutes=30)
    world.traffic(new, 2_000)
    world.watch()
    assert world.all(Alert)[0].state is AlertState.CLOSED


def test_people_take_note_and_close_an_incident(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.traffic(new, 2_000, tsh=1.5)
    world.watch()
    (incident,) = world.all(Incident)
    note_incident(world.store, incident.id, "a new clinic joined", world.why("grace"))
    resolve_incident(world.store, incident.id, world.why("grace", "retrained with the clinic's data"))
    (closed,) = world.all(Incident)
    assert closed.state is IncidentState.RESOLVED
    assert [event.kind for event in closed.timeline][-2:] == ["note", "resolved"]


def test_an_endpoint_whose_counts_cannot_be_read_is_told_and_holds_up_no_other(world: World) -> None:
    only = world.live(1)
    world.unreadable_counts(only)
    seen = watch_endpoints(world.store, world.finder, world.ids, world.clock)
    assert list(seen.unseen) == ["thyroid.prod"]
    assert seen.rolled_back == 0
