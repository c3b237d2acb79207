"""What shall be live where, beside what is: the steps from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lockgate.domain.gates.environments import Environment, Environments
from lockgate.domain.gates.records import Endpoint, Promotion
from lockgate.domain.gates.rules import may_request
from lockgate.domain.registry.records import Version, VersionState
from lockgate.domain.routing.table import endpoint_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A version that shall answer on an endpoint."""

    model: str
    environment: str
    number: int

    @property
    def endpoint(self) -> str:
        return endpoint_name(self.model, self.environment)

    @property
    def version(self) -> str:
        return f"{self.model}:{self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """A whole file: what there shall be."""

    #: None where the file does not speak of environments.
    environments: tuple[Environment, ...] | None = None
    live: tuple[Wanted, ...] = ()


class Move(StrEnum):
    """What a step is."""

    IN_PLACE = "in_place"
    ENVIRONMENTS = "environments"  # the environments change
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"  # it was live here before: no gate has to speak again
    UNDER_WAY = "under_way"  # asked for already, or on its way
    LATER = "later"  # can be asked for once an earlier step of the same file is live
    BLOCKED = "blocked"
    UNLISTED = "unlisted"  # answers callers, and the file does not say so


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStep:
    """One endpoint: what has to happen so that it is as the file says."""

    move: Move
    #: Empty for the environments themselves.
    endpoint: str
    environment: str
    #: Version ids: what answers, and what shall.
    now: str | None = None
    wanted: str | None = None
    sentence: str
    #: The promotion, route generation or ledger subject that came of it, once it was done.
    done: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What is known about one wish."""

    wanted: Wanted
    endpoint: Endpoint | None
    version: Version | None
    #: Environments whose whole traffic this very version has had.
    released: frozenset[str] = frozenset()
    #: The promotion of this version to this environment that is still open, if any.
    asked: Promotion | None = None


_MakeStep = Callable[[Move, str], PlanStep]


def drifted(steps: Sequence[PlanStep]) -> bool:
    """Whether reality is other than the file says."""
    return any(step.move is not Move.IN_PLACE for step in steps)


def plan(standings: Sequence[Standing], environments: Environments) -> tuple[PlanStep, ...]:
    """A step for each wish, in the order of the environments, so that each comes after those it builds on."""
    order = {name: place for place, name in enumerate(environments.names)}
    ordered = sorted(
        standings,
        key=lambda one: (one.wanted.model, order.get(one.wanted.environment, len(order)), one.wanted.environment),
    )
    coming = {(one.wanted.version, one.wanted.environment) for one in ordered}
    return tuple(_step(one, environments, coming) for one in ordered)


def _step(one: Standing, environments: Environments, coming: set[tuple[str, str]]) -> PlanStep:
    wanted, name = one.wanted, one.wanted.environment
    now = one.endpoint.stable if one.endpoint else None

    def step(move: Move, sentence: str) -> PlanStep:
        return PlanStep(
            move=move,
            endpoint=wanted.endpoint,
            environment=name,
            now=now,
            wanted=wanted.version,
            sentence=sentence,
        )

    if name not in environments.names:
        return step(Move.BLOCKED, f"there is no environment {name!r}")
    if one.version is None:
        return step(Move.BLOCKED, f"there is no version {wanted.version}")
    on_its_way = one.endpoint.candidate if one.endpoint else None
    if now == wanted.version and on_its_way is None:
        return step(Move.IN_PLACE, f"{wanted.version} answers")
    if one.version.state is not VersionState.READY:
        return step(Move.BLOCKED, f"{wanted.version} is {one.version.state.value}")
    if on_its_way == wanted.version:
        return step(Move.UNDER_WAY, f"{wanted.version} is on its way in a rollout")
    if one.asked is not None:
        return step(Move.UNDER_WAY, f"{one.asked.id} asks for it and is {one.asked.state.value.replace('_', ' ')}")
    if now == wanted.version or (name in one.released and now is not None):
        left = on_its_way or now
        return step(Move.ROLL_BACK, f"back from {left} to {wanted.version}, which was live here before")
    return _promotion(one, environments, coming, step)


def _promotion(one: Standing, environments: Environments, coming: set[tuple[str, str]], step: _MakeStep) -> PlanStep:
    wanted = one.wanted
    said = may_request(wanted.environment, one.released, environments)
    if said.allowed:
        return step(Move.PROMOTE, f"promote {wanted.version} to {wanted.environment}: gates, signatures, rollout")
    missing = [name for name in environments.named(wanted.environment).after if name not in one.released]
    if all((wanted.version, name) in coming for name in missing):
        return step(Move.LATER, f"once {wanted.version} is live in {' and '.join(missing)}")
    return step(Move.BLOCKED, said.sentence)
