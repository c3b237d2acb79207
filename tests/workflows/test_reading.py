"""What people are shown: the fleet, an endpoint over time, distributions, a canary beside its stable version."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lockgate.base.errors import Invalid, NotFound
from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.fleet import Health
from lockgate.domain.monitoring.picture import Monitoring
from lockgate.domain.rollout.records import Rollout
from lockgate.workflows.read_comparison import read_comparison
from lockgate.workflows.read_distribution import read_distribution
from lockgate.workflows.read_fleet import read_fleet, read_standing
from lockgate.workflows.read_monitoring import read_monitoring
from tests.workflows.world import World


def _monitoring(world: World, minutes: float = 60) -> Monitoring:
    now = world.clock.now()
    return read_monitoring(
        world.store, world.counts, world.labels, world.configs, "thyroid.prod", now - timedelta(minutes=minutes), now
    )


def test_an_empty_platform_has_an_empty_fleet(world: World) -> None:
    fleet = read_fleet(world.store, world.counts, world.clock.now())
    assert fleet.models == ()
    assert fleet.environments == ("dev", "test", "prod")


def test_a_version_without_requests_is_quiet_and_its_figures_are_unknown(world: World) -> None:
    version = world.live(1)
    (model,) = read_fleet(world.store, world.counts, world.clock.now()).models
    assert [endpoint.environment for endpoint in model.endpoints] == ["dev", "test", "prod"]
    prod = model.endpoints[-1]
    assert prod.stable == version.id
    assert prod.health is Health.QUIET
    assert (prod.traffic, prod.requests_per_minute, prod.drift) == (None, None, Verdict.UNKNOWN)
    assert set(prod.recent) == {None}


def test_the_fleet_tells_traffic_drift_and_what_is_open(world: World) -> None:
    world.live(1)
    version = world.completed(2)
    for _ in range(3):
        world.traffic(version, 900, tsh=1.5)
        world.watch()
        world.clock.advance(minutes=1)
    prod = read_standing(world.store, world.counts, "thyroid.prod", world.clock.now())
    assert prod.health is Health.BAD
    assert prod.requests_per_minute == pytest.approx(900)
    assert prod.recent[-3:] == (900, 900, 900)
    assert (prod.drift, prod.drifted) == (Verdict.FAIL, ("tsh",))
    assert len(prod.open_incidents) == 1
    assert len(prod.open_alerts) == 1


def test_the_fleet_tells_how_far_a_rollout_is(world: World) -> None:
    old = world.live(1)
    new = world.live(2)
    world.traffic(old, 500)
    world.traffic(new, 500, role="shadow")
    (model,) = read_fleet(world.store, world.counts, world.clock.now()).models
    coming = model.endpoints[-1].on_its_way
    assert coming is not None
    assert (coming.version, coming.step, coming.steps, coming.kind, coming.share) == (new.id, 1, 3, "shadow", 1.0)
    traffic = model.endpoints[-1].traffic
    assert traffic is not None
    assert traffic.requests == 500  # what a shadow sees is nobody's request


def test_monitoring_shows_each_minute_and_gaps_where_nothing_was_counted(world: World) -> None:
    version = world.live(1)
    world.traffic(version, 400)
    world.clock.advance(minutes=3)
    world.traffic(version, 600, errors={"timeout": 6})
    seen = _monitoring(world, minutes=10)
    assert seen.span_minutes == 1
    assert [point.traffic.requests for point in seen.answered] == [400, 600]
    assert (seen.answered[1].at - seen.answered[0].at) == timedelta(minutes=3)
    assert seen.total is not None
    assert seen.total.errors == {"timeout": 6}
    assert {point.role for point in seen.by_version} == {"live"}


def test_drift_is_told_by_feature_and_over_time(world: World) -> None:
    version = world.live(1)
    for shift in (0.0, 0.0, 1.5, 1.5):
        world.traffic(version, 800, tsh=shift)
        world.clock.advance(minutes=1)
    drift = _monitoring(world, minutes=4).drift
    assert drift is not None
    assert drift.verdict is Verdict.FAIL
    rows = {row.feature: [cell.verdict for cell in row.cells] for row in drift.over_time}
    told = [verdict for verdict in rows["tsh"] if verdict is not Verdict.UNKNOWN]
    assert told == [Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.FAIL]
    assert Verdict.FAIL not in rows["age"]
    assert {row.feature for row in drift.over_time if row.prediction} == {"prediction", "predicted class"}


def test_labelled_quality_is_held_against_the_floor(world: World) -> None:
    version = world.live(1)
    world.traffic(version, 800)
    world.labelled(version, 600, good=True)
    good = _monitoring(world).quality
    assert good is not None
    assert (good.metric, good.at_least, good.verdict, good.rows) == ("roc_auc", 0.8, Verdict.PASS, 600)
    assert [point.rows for point in good.points if point.value is not None] == [600]
    world.clock.advance(minutes=5)
    world.labelled(version, 2_000, good=False)
    bad = _monitoring(world).quality
    assert bad is not None
    assert bad.verdict is Verdict.FAIL


def test_no_labels_is_unknown_quality(world: World) -> None:
    version = world.live(1)
    world.traffic(version, 800)
    quality = _monitoring(world).quality
    assert quality is not None
    assert (quality.verdict, quality.value, quality.rows) == (Verdict.UNKNOWN, None, 0)


@pytest.mark.parametrize("minutes", [0, -5, 60 * 24 * 40])
def test_a_time_that_is_empty_or_endless_is_refused(world: World, minutes: float) -> None:
    world.live(1)
    with pytest.raises(Invalid):
        _monitoring(world, minutes=minutes)


def test_an_endpoint_that_is_not_there_is_told(world: World) -> None:
    with pytest.raises(NotFound):
        _monitoring(world)
    with pytest.raises(NotFound):
        read_standing(world.store, world.counts, "thyroid.prod", world.clock.now())


def test_a_distribution_is_shown_beside_training(world: World) -> None:
    version = world.live(1)
    world.traffic(version, 1_000, tsh=2.0)
    now = world.clock.now()
    start = now - timedelta(minutes=5)
    seen = read_distribution(world.store, world.counts, world.configs, "thyroid.prod", "tsh", start, now)
    assert (seen.rows_now, seen.rows_baseline) == (1_000, 4_000)
    assert sum(seen.counts_now) == 1_000
    assert len(seen.counts_now) == len(seen.edges) + 1
    assert seen.drift is not None
    assert seen.drift.verdict is Verdict.FAIL
    with pytest.raises(NotFound, match="no watched feature 'weight'"):
        read_distribution(world.store, world.counts, world.configs, "thyroid.prod", "weight", start, now)
    with pytest.raises(Invalid):
        read_distribution(world.store, world.counts, world.configs, "thyroid.prod", "tsh", now, start)


def test_a_canary_is_shown_beside_its_stable_version_since_the_step_began(world: World) -> None:
    old = world.live(1)
    new = world.live(2)
    world.traffic(old, 700)
    world.traffic(new, 700, role="shadow")
    world.advance(minutes=1.1)
    world.traffic(old, 600)
    world.traffic(new, 60, shift=0.3, errors={"model_error": 3})
    rollout = world.all(Rollout)[-1]
    seen = read_comparison(world.store, world.counts, rollout.id, world.clock.now())
    assert seen.step == 2
    assert seen.candidate is not None
    assert seen.stable is not None
    assert (seen.candidate.version, seen.candidate.requests, seen.candidate.role) == (new.id, 60, "live")
    assert (seen.stable.version, seen.stable.requests) == (old.id, 600)
    assert seen.candidate.errors == {"model_error": 3}
    assert len(seen.minutes) == 2
    assert seen.score_distance is not None
    assert seen.score_distance > 0.3
    assert sum(seen.stable_scores) == pytest.approx(1)
    assert len(seen.score_edges) == len(seen.stable_scores) + 1


def test_a_rollout_without_requests_compares_nothing(world: World) -> None:
    world.live(1)
    world.live(2)
    rollout = world.all(Rollout)[-1]
    seen = read_comparison(world.store, world.counts, rollout.id, world.clock.now())
    assert (seen.candidate, seen.stable, seen.score_distance, seen.minutes) == (None, None, None, ())


def test_a_rollout_that_is_over_is_shown_as_a_whole(world: World) -> None:
    world.live(1)
    world.completed(2)
    rollout = world.all(Rollout)[-1]
    seen = read_comparison(world.store, world.counts, rollout.id, world.clock.now())
    assert seen.phase == "completed"
    assert seen.candidate is not None
    assert seen.candidate.requests == 800 * len(seen.minutes)
