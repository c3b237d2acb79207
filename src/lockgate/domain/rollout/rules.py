"""What a rollout does next, and what the endpoint answers with meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lockgate.base.errors import NotAllowedNow
from lockgate.base.verdict import Verdict, worst
from lockgate.domain.registry.manifest import to_plain
from lockgate.domain.rollout.guard import Judgement
from lockgate.domain.rollout.records import Phase, Rollout, Step, StepKind
from lockgate.domain.rollout.schedule import shut
from lockgate.domain.routing.table import PINNED, WHOLE, EndpointRoute, Role, Target, check


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Stay where it is."""

    reason: str
    #: True while evidence is unknown, false while it passes and only time is missing.
    waiting: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """Go on to a step."""

    step: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Complete:
    """The candidate takes the whole traffic."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Abort:
    """The stable version takes the whole traffic back."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reweigh:
    """An experiment goes on with other shares."""

    weight: int
    reason: str


Move = Hold | Advance | Complete | Abort | Reweigh


def next_move(rollout: Rollout, judgements: Sequence[Judgement], now: datetime) -> Move:
    """Decide from the judgements on the present step.

    A failure aborts at once. A step is left only when every guard passes, its time is over, a person let it go on where
    one has to, and the schedule is open. Unknown holds, and aborts when it lasts. A paused rollout is judged all the
    same, but only a failure ends it.
    """
    if rollout.phase.over:
        return Hold(reason=f"the rollout is {rollout.phase}")
    closed = shut(rollout.strategy.schedules, now)
    if rollout.phase is Phase.SCHEDULED:
        return _start(rollout, closed)
    step = current_step(rollout)
    if step is None:
        return Hold(reason=closed, waiting=False) if closed else Complete(reason=_at_once(rollout))
    verdict = worst(judgement.verdict for judgement in judgements)
    if verdict is Verdict.FAIL:
        return Abort(reason=_tell(judgements, Verdict.FAIL))
    if rollout.paused:
        return Hold(reason=rollout.reason)
    if step.manual and rollout.confirmed_at is None:
        return Hold(reason="waits for a person to let it go on")
    if verdict is Verdict.UNKNOWN:
        return _doubt(rollout, step, judgements, now)
    return _forward(rollout, step, closed, now)


def _start(rollout: Rollout, closed: str) -> Move:
    if rollout.paused:
        return Hold(reason=rollout.reason)
    if closed:
        return Hold(reason=closed)
    if current_step(rollout) is None:
        return Complete(reason=_at_once(rollout))
    return Advance(step=0, reason="it starts, as its schedule says")


def _doubt(rollout: Rollout, step: Step, judgements: Sequence[Judgement], now: datetime) -> Move:
    doubt = _tell(judgements, Verdict.UNKNOWN) or "nothing was judged yet"
    # A person who lets it go on is not to find it given up for the time they took.
    waited = (now - max(rollout.step_started_at, rollout.confirmed_at or rollout.step_started_at)).total_seconds()
    if step.experiment is not None:
        return Abort(reason=f"ended undecided: {doubt}") if waited >= step.seconds else Hold(reason=doubt)
    if waited >= max(rollout.strategy.guard.hold_seconds, step.seconds):
        return Abort(reason=f"no sufficient evidence after {waited:,.0f} s: {doubt}")
    return Hold(reason=doubt)


def _forward(rollout: Rollout, step: Step, closed: str, now: datetime) -> Move:
    elapsed = (now - rollout.step_started_at).total_seconds()
    if elapsed < step.seconds and step.experiment is None:
        return Hold(reason=f"all guards pass; {step.seconds - elapsed:,.0f} s of this step are left", waiting=False)
    if closed:
        return Hold(reason=f"all guards pass; {closed}", waiting=False)
    if rollout.step + 1 >= len(rollout.strategy.steps):
        return Complete(reason="all guards pass on the last step")
    return Advance(step=rollout.step + 1, reason=f"all guards pass after {elapsed:,.0f} s")


def moved(rollout: Rollout, move: Move, judgements: Sequence[Judgement], now: datetime) -> Rollout:
    """The rollout after a move. One that is over stays as it is."""
    if rollout.phase.over:
        return rollout
    told = replace(rollout, reason=move.reason, judgements=tuple(to_plain(judgement) for judgement in judgements))
    match move:
        case Hold() if rollout.phase is Phase.SCHEDULED:
            return told
        case Hold(waiting=waiting):
            return replace(told, phase=Phase.HOLDING if waiting else Phase.RUNNING)
        case Advance(step=step):
            return replace(told, phase=Phase.RUNNING, step=step, step_started_at=now, confirmed_at=None, weight=None)
        case Reweigh(weight=weight):
            return replace(told, weight=weight, weighed_at=now)
        case Complete():
            return replace(told, phase=Phase.COMPLETED, step=len(rollout.strategy.steps), finished_at=now)
        case Abort():
            return replace(told, phase=Phase.ABORTED, finished_at=now)


def current_step(rollout: Rollout) -> Step | None:
    """The step it is on; None when there is nothing to compare with or no step is left."""
    if rollout.stable is None or rollout.step >= len(rollout.strategy.steps):
        return None
    return rollout.strategy.steps[rollout.step]


def judged_role(rollout: Rollout) -> str:
    """The role in which the candidate's rows are counted at present."""
    step = current_step(rollout)
    if step is None:
        return Role.LIVE
    return {StepKind.SHADOW: Role.SHADOW, StepKind.PREVIEW: PINNED}.get(step.kind, Role.LIVE)


def judged_alone(rollout: Rollout) -> bool:
    """Whether no traffic goes to the stable version that the candidate's could be compared with."""
    step = current_step(rollout)
    return step is None or step.kind is StepKind.PREVIEW or (step.kind is not StepKind.SHADOW and step.weight >= WHOLE)


def route_for(rollout: Rollout, packages: Mapping[str, str], previous: str | None = None) -> EndpointRoute:
    """How the endpoint is answered while the rollout stands where it stands.

    Args:
        rollout: the rollout as it is after its move.
        packages: package digest of each version id that is named.
        previous: the version before the stable one, kept warm until this rollout completes.

    Raises:
        NotAllowedNow: it was aborted, and there is no stable version to go back to.
    """
    shares = _shares(rollout)
    if previous is not None and previous not in shares and rollout.phase is not Phase.COMPLETED:
        shares[previous] = (Role.WARM, 0)
    targets = tuple(
        Target(
            version=version,
            number=int(version.rpartition(":")[2]),
            package=packages[version],
            role=role,
            weight=weight,
        )
        for version, (role, weight) in shares.items()
    )
    return check(
        EndpointRoute(name=rollout.endpoint, model=rollout.model, environment=rollout.environment, targets=targets)
    )


def _shares(rollout: Rollout) -> dict[str, tuple[Role, int]]:
    candidate, stable = rollout.candidate, rollout.stable
    if rollout.phase is Phase.ABORTED:
        if stable is None:
            raise NotAllowedNow(f"{rollout.endpoint} has no other version to go back to")
        return {stable: (Role.LIVE, WHOLE)}
    step = None if rollout.phase is Phase.COMPLETED else current_step(rollout)
    if stable is None or stable == candidate:
        return {candidate: (Role.LIVE, WHOLE)}
    if step is None or (step.kind is StepKind.TRAFFIC and step.weight >= WHOLE):
        return {candidate: (Role.LIVE, WHOLE), stable: (Role.WARM, 0)}
    if step.kind is StepKind.SHADOW:
        return {stable: (Role.LIVE, WHOLE), candidate: (Role.SHADOW, step.weight)}
    weight = step.weight if rollout.weight is None else rollout.weight
    if step.kind is StepKind.PREVIEW or weight == 0:
        return {stable: (Role.LIVE, WHOLE), candidate: (Role.WARM, 0)}
    if weight >= WHOLE:
        return {candidate: (Role.LIVE, WHOLE), stable: (Role.WARM, 0)}
    return {stable: (Role.LIVE, WHOLE - weight), candidate: (Role.LIVE, weight)}


def _at_once(rollout: Rollout) -> str:
    if rollout.stable is None:
        return "the endpoint's first version takes all traffic at once"
    return "the strategy has no steps: all at once" if not rollout.strategy.steps else "all steps are done"


def _tell(judgements: Sequence[Judgement], verdict: Verdict) -> str:
    return "; ".join(judgement.sentence for judgement in judgements if judgement.verdict is verdict)
