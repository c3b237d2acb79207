"""The environments that versions pass through, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from lockgate.base.errors import Invalid
from lockgate.domain.gates.approvals import VALID, SignatureDemand
from lockgate.domain.rollout.records import Step, StepKind, Strategy

#: The stages of a model's life; an environment takes the demands of one of them.
STAGES = ("dev", "test", "prod")
#: More environments than anybody can look after.
MOST = 50

_MINUTES = 60.0
_DEFAULT_PROD = Strategy(
    steps=(
        Step(kind=StepKind.SHADOW, weight=10_000, seconds=10 * _MINUTES),
        Step(kind=StepKind.TRAFFIC, weight=500, seconds=10 * _MINUTES),
        Step(kind=StepKind.TRAFFIC, weight=5_000, seconds=10 * _MINUTES),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """One place that versions are released to."""

    name: str
    #: A version has to have had the whole traffic of all of these before.
    after: tuple[str, ...] = ()
    #: One of `STAGES`, whose default demands hold here.
    like: str = "dev"
    #: Who signs at least; a model's file may ask for more.
    signatures: tuple[SignatureDemand, ...] = ()
    #: Seconds for which a signature counts at most.
    signatures_valid: float = VALID.total_seconds()
    #: The way a release takes traffic where the model's file does not say.
    strategy: Strategy = field(default_factory=Strategy)

    @property
    def approvals(self) -> int:
        """How many people have to sign at least."""
        return sum(demand.people for demand in self.signatures)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environments:
    """All of them; there is one record of this kind at most."""

    id: str = "environments"
    revision: int = 0
    #: In an order in which each comes after those that it names.
    environments: tuple[Environment, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(place.name for place in self.environments)

    def named(self, name: str) -> Environment:
        """The environment of that name; raises Invalid."""
        for place in self.environments:
            if place.name == name:
                return place
        raise Invalid(f"there is no environment {name!r}", hint=f"the environments are {', '.join(self.names)}")


#: What there is until somebody says otherwise.
DEFAULT = Environments(
    environments=(
        Environment(name="dev"),
        Environment(name="test", after=("dev",), like="test"),
        Environment(name="prod", after=("test",), like="prod", signatures=(SignatureDemand(),), strategy=_DEFAULT_PROD),
    )
)


def in_order(environments: tuple[Environment, ...]) -> tuple[Environment, ...]:
    """The environments, each behind those it comes after; otherwise as they were given.

    Raises:
        Invalid: with every problem: none at all, too many, a name twice, one that is not there, or a circle.
    """
    names = [place.name for place in environments]
    problems = [f"{name}: is named twice" for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [
        f"{place.name}: comes after {before!r}, and there is no such environment"
        for place in environments
        for before in place.after
        if before not in names
    ]
    if not environments:
        problems.append("there has to be one environment at least")
    if len(environments) > MOST:
        problems.append(f"there are {len(environments)} environments, and {MOST} is the most")
    if problems:
        raise Invalid("the environments are not valid", problems=problems)
    try:
        order = list(TopologicalSorter({place.name: place.after for place in environments}).static_order())
    except CycleError as error:
        circle = " after ".join(reversed(error.args[1]))
        raise Invalid(
            "the environments are not valid",
            problems=[f"{circle} goes round in a circle"],
            hint="one environment has to come first: leave `after` out there",
        ) from error
    return tuple(sorted(environments, key=lambda place: order.index(place.name)))
