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
from lockgate.domain.routing.table import WHOLE, EndpointRoute, Role, Target, check


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


Move = Hold | Advance | Complete | Abort


def next_move(rollout: Rollout, judgements: Sequence[Judgement], now: datetime) -> Move:
    """Decide from the judgements on the present step.

    A failure aborts at once. A step is left only when every guard passes and its time is over. Unknown holds, and
    aborts when it lasts. A paused rollout is judged all the same, but only a failure ends it.
    """
    if rollout.phase.over:
        return Hold(reason=f"the rollout is {rollout.phase}")
    step = current_step(rollout)
    if step is None:
        return Complete(reason=_at_once(rollout))
    verdict = worst(judgement.verdict for judgement in judgements)
    elapsed = (now - rollout.step_started_at).total_seconds()
    if verdict is Verdict.FAIL:
        return Abort(reason=_tell(judgements, Verdict.FAIL))
    if rollout.paused:
        return Hold(reason=rollout.reason)
    if verdict is Verdict.UNKNOWN:
        doubt = _tell(judgements, Verdict.UNKNOWN) or "nothing was judged yet"
        if elapsed >= max(rollout.strategy.guard.hold_seconds, step.seconds):
            return Abort(reason=f"no sufficient evidence after {elapsed:,.0f} s: {doubt}")
        return Hold(reason=doubt)
    if elapsed < step.seconds:
        return Hold(reason=f"all guards pass; {step.seconds - elapsed:,.0f} s of this step are left", waiting=False)
    if rollout.step + 1 >= len(rollout.strategy.steps):
        return Complete(reason="all guards pass on the last step")
    return Advance(step=rollout.step + 1, reason=f"all guards pass after {elapsed:,.0f} s")


def moved(rollout: Rollout, move: Move, judgements: Sequence[Judgement], now: datetime) -> Rollout:
    """The rollout after a move. One that is over stays as it is."""
    if rollout.phase.over:
        return rollout
    told = replace(rollout, reason=move.reason, judgements=tuple(to_plain(judgement) for judgement in judgements))
    match move:
        case Hold(waiting=waiting):
            return replace(told, phase=Phase.HOLDING if waiting else Phase.RUNNING)
        case Advance(step=step):
            return replace(told, phase=Phase.RUNNING, step=step, step_started_at=now)
        case Complete():
            return replace(told, phase=Phase.COMPLETED, step=len(rollout.strategy.steps), finished_at=now)
        case Abort():
            return replace(told, phase=Phase.ABORTED, finished_at=now)


def current_step(rollout: Rollout) -> Step | None:
    """The step it is on; None when there is nothing to compare with or no step is left."""
    if rollout.stable is None or rollout.step >= len(rollout.strategy.steps):
        return None
    return rollout.strategy.steps[rollout.step]


def judged_role(rollout: Rollout) -> Role:
    """The role in which the candidate's rows are counted at present."""
    step = current_step(rollout)
    return Role.SHADOW if step is not None and step.kind is StepKind.SHADOW else Role.LIVE


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
    if step.weight == 0:
        return {stable: (Role.LIVE, WHOLE), candidate: (Role.WARM, 0)}
    return {stable: (Role.LIVE, WHOLE - step.weight), candidate: (Role.LIVE, step.weight)}


def _at_once(rollout: Rollout) -> str:
    if rollout.stable is None:
        return "the endpoint's first version takes all traffic at once"
    return "the strategy has no steps: all at once" if not rollout.strategy.steps else "all steps are done"


def _tell(judgements: Sequence[Judgement], verdict: Verdict) -> str:
    return "; ".join(judgement.sentence for judgement in judgements if judgement.verdict is verdict)
