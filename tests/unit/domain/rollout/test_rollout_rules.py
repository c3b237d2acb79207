from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lockgate.base.errors import NotAllowedNow
from lockgate.base.verdict import Verdict
from lockgate.domain.rollout.guard import Judgement
from lockgate.domain.rollout.records import Experiment, GuardSpec, Phase, Rollout, Step, StepKind, Strategy
from lockgate.domain.rollout.rules import (
    Abort,
    Advance,
    Complete,
    Hold,
    Reweigh,
    current_step,
    judged_role,
    moved,
    next_move,
    route_for,
)
from lockgate.domain.rollout.schedule import Freeze, Hours, Schedule, shut
from lockgate.domain.routing.table import WHOLE, EndpointRoute, Role, check

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
STEPS = (
    Step(kind=StepKind.SHADOW, weight=WHOLE, seconds=60),
    Step(kind=StepKind.TRAFFIC, weight=500, seconds=60),
    Step(kind=StepKind.TRAFFIC, weight=5000, seconds=120),
)
PACKAGES = {f"m:{number}": f"sha256:{number}" for number in range(1, 5)}


def rollout(
    *, steps: tuple[Step, ...] = STEPS, step: int = 0, stable: str | None = "m:2", phase: Phase = Phase.RUNNING
) -> Rollout:
    return Rollout(
        id="roll_1",
        endpoint="m.prod",
        model="m",
        environment="prod",
        release="rel_1",
        candidate="m:3",
        stable=stable,
        strategy=Strategy(steps=steps, guard=GuardSpec(hold_seconds=600)),
        step=step,
        step_started_at=NOON,
        phase=phase,
        reason="started",
        created_at=NOON,
    )


def says(*verdicts: Verdict) -> tuple[Judgement, ...]:
    return tuple(
        Judgement(name=f"guard {index}", verdict=verdict, sentence=f"guard {index} says {verdict}")
        for index, verdict in enumerate(verdicts)
    )


def shares(route: EndpointRoute) -> dict[str, tuple[Role, int]]:
    return {target.version: (target.role, target.weight) for target in check(route).targets}


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_a_step_that_passes_for_its_time_advances() -> None:
    move = next_move(rollout(), says(Verdict.PASS, Verdict.PASS), after(60))
    assert isinstance(move, Advance)
    assert move.step == 1


def test_a_step_that_passes_too_early_waits_for_its_time() -> None:
    move = next_move(rollout(), says(Verdict.PASS), after(59))
    assert isinstance(move, Hold)
    assert not move.waiting
    assert "1 s" in move.reason


def test_the_last_step_completes() -> None:
    assert isinstance(next_move(rollout(step=2), says(Verdict.PASS), after(120)), Complete)


@pytest.mark.parametrize("others", [(), (Verdict.PASS,), (Verdict.UNKNOWN, Verdict.PASS)])
@pytest.mark.parametrize("seconds", [0, 60, 10_000])
def test_a_failure_aborts_at_once_and_says_why(others: tuple[Verdict, ...], seconds: float) -> None:
    move = next_move(rollout(), says(*others, Verdict.FAIL), after(seconds))
    assert isinstance(move, Abort)
    assert "says fail" in move.reason


@pytest.mark.parametrize("judgements", [says(), says(Verdict.UNKNOWN, Verdict.PASS)])
def test_no_evidence_holds_and_aborts_when_it_lasts(judgements: tuple[Judgement, ...]) -> None:
    assert isinstance(next_move(rollout(), judgements, after(599)), Hold)
    assert isinstance(next_move(rollout(), judgements, after(600)), Abort)


def test_a_step_longer_than_the_hold_has_its_time_to_gather_evidence() -> None:
    long = rollout(steps=(Step(kind=StepKind.SHADOW, weight=WHOLE, seconds=3600),))
    assert isinstance(next_move(long, says(Verdict.UNKNOWN), after(3599)), Hold)
    assert isinstance(next_move(long, says(Verdict.UNKNOWN), after(3600)), Abort)


def test_only_a_failure_ends_a_pause() -> None:
    paused = replace(rollout(), paused=True, reason="the data drift")
    for verdict in (Verdict.PASS, Verdict.UNKNOWN):
        held = next_move(paused, says(verdict), after(10_000))
        assert isinstance(held, Hold)
        assert held.reason == "the data drift"
    assert isinstance(next_move(paused, says(Verdict.FAIL), after(1)), Abort)


def test_without_steps_or_without_a_stable_version_it_completes_at_once() -> None:
    assert isinstance(next_move(rollout(steps=()), says(), NOON), Complete)
    assert isinstance(next_move(rollout(stable=None), says(), NOON), Complete)


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.ABORTED])
def test_what_is_over_stays_over(phase: Phase) -> None:
    over = rollout(phase=phase)
    move = next_move(over, says(Verdict.PASS), after(10_000))
    assert isinstance(move, Hold)
    for other in (move, Advance(step=1, reason="x"), Complete(reason="x"), Abort(reason="x")):
        assert moved(over, other, says(), after(1)) == over


def test_a_move_is_written_down_with_its_evidence() -> None:
    judgements = says(Verdict.PASS)
    found = moved(rollout(), Advance(step=1, reason="all pass"), judgements, after(60))
    assert (found.step, found.step_started_at, found.phase, found.reason) == (1, after(60), Phase.RUNNING, "all pass")
    assert found.judgements[0]["verdict"] == "pass"
    held = moved(rollout(), Hold(reason="few rows"), says(Verdict.UNKNOWN), after(1))
    assert (held.phase, held.step_started_at) == (Phase.HOLDING, NOON)


def test_a_shadow_step_is_judged_on_shadow_rows() -> None:
    assert judged_role(rollout(step=0)) is Role.SHADOW
    assert judged_role(rollout(step=1)) is Role.LIVE


def test_each_phase_has_its_route() -> None:
    warm = ("m:1", (Role.WARM, 0))
    expected = {
        0: {"m:2": (Role.LIVE, WHOLE), "m:3": (Role.SHADOW, WHOLE)},
        1: {"m:2": (Role.LIVE, 9500), "m:3": (Role.LIVE, 500)},
        2: {"m:2": (Role.LIVE, 5000), "m:3": (Role.LIVE, 5000)},
    }
    for step, split in expected.items():
        assert shares(route_for(rollout(step=step), PACKAGES, "m:1")) == dict([*split.items(), warm])
    completed = route_for(rollout(step=3, phase=Phase.COMPLETED), PACKAGES, "m:1")
    assert shares(completed) == {"m:3": (Role.LIVE, WHOLE), "m:2": (Role.WARM, 0)}
    aborted = route_for(rollout(step=1, phase=Phase.ABORTED), PACKAGES, "m:1")
    assert shares(aborted) == dict([("m:2", (Role.LIVE, WHOLE)), warm])


def test_a_target_names_its_number_and_package() -> None:
    target = route_for(rollout(stable=None), PACKAGES).targets[0]
    assert (target.version, target.number, target.package) == ("m:3", 3, "sha256:3")


def test_a_first_version_takes_everything_at_once() -> None:
    assert shares(route_for(rollout(stable=None), PACKAGES)) == {"m:3": (Role.LIVE, WHOLE)}


def test_an_aborted_first_version_has_nothing_to_go_back_to() -> None:
    with pytest.raises(NotAllowedNow):
        route_for(rollout(stable=None, phase=Phase.ABORTED), PACKAGES)


def test_releasing_the_version_that_serves_already_names_it_once() -> None:
    assert shares(route_for(rollout(stable="m:3"), PACKAGES)) == {"m:3": (Role.LIVE, WHOLE)}


@pytest.mark.parametrize(("weight", "role"), [(0, Role.WARM), (WHOLE, Role.LIVE)])
def test_no_and_all_traffic_are_steps_like_others(weight: int, role: Role) -> None:
    step = Step(kind=StepKind.TRAFFIC, weight=weight, seconds=1)
    assert shares(route_for(rollout(steps=(step,)), PACKAGES))["m:3"] == (role, weight)


STEP_LISTS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(StepKind),
        weight=st.integers(0, WHOLE),
        seconds=st.sampled_from([0.0, 30.0, 600.0]),
        manual=st.booleans(),
        experiment=st.sampled_from([None, None, Experiment(metric="accuracy")]),
    ),
    max_size=5,
)
SCHEDULES = st.sampled_from([(), (Schedule(freezes=(Freeze(begins=after(300), ends=after(1200), because="fair"),)),)])


@given(STEP_LISTS, st.sampled_from(["m:2", "m:3", None]), st.sampled_from([None, "m:1", "m:2", "m:3"]), st.data())
def test_every_route_is_whole(steps: list[Step], stable: str | None, previous: str | None, data: st.DataObject) -> None:
    phase = data.draw(st.sampled_from(Phase))
    step = data.draw(st.integers(0, len(steps)))
    if stable is not None or phase is not Phase.ABORTED:
        check(route_for(rollout(steps=tuple(steps), step=step, stable=stable, phase=phase), PACKAGES, previous))


class RolloutLife(RuleBasedStateMachine):
    """Judgements and time come in any order; the rules hold all the same."""

    @initialize(steps=STEP_LISTS, stable=st.sampled_from(["m:2", None]), schedules=SCHEDULES, scheduled=st.booleans())
    def start(self, steps: list[Step], stable: str | None, schedules: tuple[Schedule, ...], scheduled: bool) -> None:
        self.now = NOON
        phase = Phase.SCHEDULED if scheduled and stable else Phase.RUNNING
        begun = rollout(steps=tuple(steps), stable=stable, phase=phase)
        self.rollout = replace(begun, strategy=replace(begun.strategy, schedules=schedules))

    @rule(seconds=st.sampled_from([0, 1, 30, 300, 900]), verdicts=st.lists(st.sampled_from(Verdict), max_size=3))
    def reconcile(self, seconds: int, verdicts: list[Verdict]) -> None:
        self.now += timedelta(seconds=seconds)
        before, judgements = self.rollout, says(*verdicts)
        move = next_move(before, judgements, self.now)
        self.rollout = moved(before, move, judgements, self.now)
        if before.phase.over:
            assert self.rollout == before
            return
        compared = before.stable is not None and before.step < len(before.strategy.steps)
        if isinstance(move, Advance | Complete):
            assert not shut(before.strategy.schedules, self.now)
        begins = before.phase is Phase.SCHEDULED
        if compared and not begins and isinstance(move, Advance | Complete):
            step = before.strategy.steps[before.step]
            assert verdicts
            assert set(verdicts) == {Verdict.PASS}
            assert not before.paused
            assert before.confirmed_at is not None or not step.manual
            elapsed = (self.now - before.step_started_at).total_seconds()
            assert elapsed >= step.seconds or step.experiment is not None
        if compared and not begins and Verdict.FAIL in verdicts:
            assert self.rollout.phase is Phase.ABORTED
        assert before.step <= self.rollout.step <= len(before.strategy.steps)
        if isinstance(move, Advance):
            assert self.rollout.step == before.step + (0 if begins else 1)

    @rule(weight=st.integers(0, WHOLE))
    def an_experiment_moves_its_shares(self, weight: int) -> None:
        step = current_step(self.rollout)
        if step is not None and step.experiment is not None and self.rollout.phase in (Phase.RUNNING, Phase.HOLDING):
            self.rollout = moved(self.rollout, Reweigh(weight=weight, reason="as it goes"), says(), self.now)

    @rule()
    def a_person_lets_it_go_on(self) -> None:
        if not self.rollout.phase.over:
            self.rollout = replace(self.rollout, paused=False, confirmed_at=self.now)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        if not self.rollout.phase.over:
            self.rollout = replace(self.rollout, paused=paused)

    @rule()
    def a_person_aborts(self) -> None:
        if self.rollout.stable is not None:
            self.rollout = moved(self.rollout, Abort(reason="a person said so"), says(), self.now)

    @invariant()
    def the_candidate_answers_nobody_after_an_abort(self) -> None:
        if self.rollout.phase is Phase.SCHEDULED:
            return
        live = {target.version: target.weight for target in route_for(self.rollout, PACKAGES, "m:1").live}
        assert sum(live.values()) == WHOLE
        if self.rollout.phase is Phase.ABORTED:
            assert live == {"m:2": WHOLE}

    @invariant()
    def an_end_has_its_time(self) -> None:
        assert self.rollout.phase.over == (self.rollout.finished_at is not None)


TestRolloutLife = RolloutLife.TestCase


@pytest.mark.parametrize(
    ("at", "shut_until"),
    [
        ("2026-12-18T16:59+01:00", ""),  # a Friday
        ("2026-12-18T17:00+01:00", "2026-12-21 09:00 Europe/Berlin"),
        ("2026-12-20T12:00+01:00", "2026-12-21 09:00 Europe/Berlin"),
        ("2026-12-24T12:00+01:00", "frozen until 2027-01-04 00:00 Europe/Berlin (the holidays)"),
        ("2027-01-04T08:59+01:00", "2027-01-04 09:00 Europe/Berlin"),
        # Two hours after summer time begins, Berlin's nine o'clock is an hour earlier by the sun.
        ("2027-03-29T06:59+00:00", "2027-03-29 09:00 Europe/Berlin"),
        ("2027-03-29T07:00+00:00", ""),
    ],
)
def test_hours_and_freezes_are_those_of_the_place(at: str, shut_until: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    freeze = Freeze(
        begins=datetime(2026, 12, 23, tzinfo=zone), ends=datetime(2027, 1, 4, tzinfo=zone), because="the holidays"
    )
    hours = Hours(days=(0, 1, 2, 3, 4), begins=9 * 60, ends=17 * 60)
    said = shut([Schedule(zone="Europe/Berlin", hours=(hours,), freezes=(freeze,))], datetime.fromisoformat(at))
    assert said.endswith(shut_until) if shut_until else said == ""


def test_a_freeze_stops_what_goes_forward_and_nothing_that_goes_back() -> None:
    frozen = (Schedule(freezes=(Freeze(begins=NOON, ends=after(7200)),)),)
    held = replace(rollout(), strategy=replace(rollout().strategy, schedules=frozen))
    move = next_move(held, says(Verdict.PASS), after(60))
    assert isinstance(move, Hold)
    assert "frozen until" in move.reason
    assert isinstance(next_move(held, says(Verdict.FAIL), after(60)), Abort)
    assert isinstance(next_move(held, says(Verdict.PASS), after(7200)), Advance)


def test_a_manual_stage_waits_for_a_person_however_long() -> None:
    manual = rollout(steps=(replace(STEPS[1], manual=True, seconds=0),))
    for verdict in (Verdict.PASS, Verdict.UNKNOWN):
        assert isinstance(next_move(manual, says(verdict), after(100_000)), Hold)
    confirmed = replace(manual, confirmed_at=after(100_000))
    assert isinstance(next_move(confirmed, says(Verdict.UNKNOWN), after(100_001)), Hold)
    assert isinstance(next_move(confirmed, says(Verdict.PASS), after(100_001)), Complete)
    assert isinstance(next_move(confirmed, says(Verdict.UNKNOWN), after(100_600)), Abort)


def test_an_experiment_without_a_winner_ends_undecided_at_its_deadline() -> None:
    step = Step(kind=StepKind.EXPERIMENT, weight=5000, seconds=3600, experiment=Experiment(metric="accuracy"))
    running = rollout(steps=(step,))
    assert isinstance(next_move(running, says(Verdict.UNKNOWN), after(3599)), Hold)
    ended = next_move(running, says(Verdict.UNKNOWN), after(3600))
    assert isinstance(ended, Abort)
    assert "undecided" in ended.reason
    assert isinstance(next_move(running, says(Verdict.PASS), after(5)), Complete)
