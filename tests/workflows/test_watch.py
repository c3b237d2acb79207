"""What happens by itself when something breaks in production."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from lockgate.base.verdict import Verdict
from lockgate.base.window import minute_of
from lockgate.domain.alerting.records import Alert, AlertState, SignalKind
from lockgate.domain.incidents.records import Incident, IncidentState
from lockgate.domain.monitoring.fleet import Health
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.ports import Label
from lockgate.workflows.handle_incident import acknowledge_incident, note_incident, resolve_incident
from lockgate.workflows.read_fleet import read_standing
from lockgate.workflows.read_monitoring import read_monitoring
from lockgate.workflows.watch_endpoint import watch_endpoints
from tests.workflows.world import CONFIG, World


def test_quiet_traffic_like_training_raises_nothing(world: World) -> None:
    old, new = world.live(1), world.completed(2)
    world.traffic(new, 2_000)
    world.labelled(new, 600, good=True)
    assert world.watch() == 0
    assert world.all(Alert) == []
    assert (world.endpoint.stable, world.endpoint.previous) == (new.id, old.id)


def test_looking_often_at_healthy_traffic_raises_nothing(world: World) -> None:
    only = world.live(1)
    # One check of these is wrong in at most one case of 200. Looking is done all day, and an alert that is not true
    # keeps the platform from going back to that version when the next one fails.
    for _ in range(250):
        world.traffic(only, 400)
        world.watch()
        world.clock.advance(minutes=3)
    assert world.all(Alert) == []


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


def test_labels_of_no_use_hide_no_bad_quality(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.labelled(new, 900, good=False)
    with world.store.begin(world.why()) as tx:
        lost = [
            Label(
                prediction_id=f"z{index:025d}",
                endpoint="thyroid.prod",
                value="1",
                version=new.id,
                minute=minute_of(world.clock.now()),
                predicted="1",
                received_at=world.clock.now(),
            )
            for index in range(20)
        ]
        world.labels.add(tx, lost)
        tx.record("labels.added", "endpoint/thyroid.prod", after={"labels": 20})
    world.labels.match(lost)
    assert world.watch() == 1


def test_a_metric_that_does_not_suit_the_model_blinds_the_watch_to_nothing_else(tmp_path: Path) -> None:
    asked = CONFIG.replace(
        "quality: {metric: roc_auc, at_least: 0.8, least", "quality: {metric: mae, at_most: 1, least"
    )
    world = World(tmp_path, config=asked)
    old = world.live(1)
    new = world.completed(2)
    world.labelled(new, 900, good=False)
    now = world.clock.now()
    seen = read_monitoring(
        world.store,
        world.counts,
        world.labels,
        world.configs,
        "thyroid.prod",
        now - timedelta(minutes=9),
        now + timedelta(minutes=1),
    )
    assert seen.quality is not None
    assert (seen.quality.verdict, seen.quality.sentence) == (
        Verdict.UNKNOWN,
        "mae is unknown: it does not suit a classification",
    )
    world.traffic(new, 1_000, errors={"model_error": 400})
    assert world.watch() == 1
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


def test_a_rollout_on_its_way_is_aborted_when_the_version_it_runs_beside_is_undone(world: World) -> None:
    old, bad = world.live(1), world.completed(2)
    world.live(3)
    world.traffic(bad, 1_000, errors={"model_error": 400})
    assert world.watch() == 1
    assert world.all(Rollout)[-1].phase is Phase.ABORTED
    assert world.shares() == {old.id: ("live", 10_000), bad.id: ("warm", 0)}
    assert (world.endpoint.candidate, world.endpoint.rollout) == (None, None)


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


def test_after_the_rollback_the_endpoint_is_as_well_as_the_version_that_serves_it(world: World) -> None:
    world.live(1)
    new = world.completed(2)
    world.traffic(new, 1_000, errors={"model_error": 120})
    assert world.watch() == 1
    standing = read_standing(world.store, world.counts, "thyroid.prod", world.clock.now())
    assert standing.health is Health.WATCH
    assert "mitigated" in standing.sentence
