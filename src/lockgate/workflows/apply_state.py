"""Bring what is live in line with a file, or only say what that would take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lockgate.base.errors import LockgateError, NotFound
from lockgate.base.ids import Ids
from lockgate.domain.access.records import Action
from lockgate.domain.gates.desired import Desired, Move, PlanStep, Standing, Wanted, drifted, plan
from lockgate.domain.gates.environments import Environments, in_order
from lockgate.domain.gates.records import Endpoint, Promotion
from lockgate.domain.registry.records import Version
from lockgate.ports import ConfigReader, Jobs, Store, Transaction, Why
from lockgate.workflows.request_promotion import OPEN, released_in, request_promotion
from lockgate.workflows.roll_back import roll_back
from lockgate.workflows.set_environments import environments_of, set_environments

#: Raises when the caller may not do this in an environment; empty is the platform as a whole.
Demand = Callable[[Action, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every step, and whether anything is other than the file says."""

    drifted: bool
    steps: tuple[PlanStep, ...]


def plan_state(store: Store, desired: Desired) -> Plan:
    """What it would take; changes nothing.

    Raises:
        Invalid: the environments go round in a circle, or name what is not there.
    """
    with store.reading() as tx:
        steps = _steps(tx, desired)
    return Plan(drifted=drifted(steps), steps=steps)


def apply_state(
    store: Store, jobs: Jobs, ids: Ids, configs: ConfigReader, desired: Desired, why: Why, demand: Demand
) -> Plan:
    """Do every step that can be done now. Applying again goes on from there, until everything is in place.

    Each step stands for itself: one that is refused is told as blocked, and the others are done.

    Raises:
        Forbidden: the caller may not do one of the steps; nothing is done then.
        Invalid, NotAllowedNow: the environments cannot be set; nothing is done then.
    """
    planned = plan_state(store, desired)
    for step in planned.steps:
        wants = _ACTIONS.get(step.move)
        if wants:
            demand(wants, step.environment)
    done: list[PlanStep] = []
    if desired.environments is not None and planned.steps[0].move is Move.ENVIRONMENTS:
        set_environments(store, desired.environments, why)
        # What was planned for environments that are there only now is planned anew.
        done.append(replace(planned.steps[0], done="environments"))
        planned = plan_state(store, desired)
    for step in planned.steps:
        try:
            if step.move in _ACTIONS:
                demand(_ACTIONS[step.move], step.environment)
            done.append(replace(step, done=_do(store, jobs, ids, configs, step, why)))
        except LockgateError as error:
            done.append(replace(step, move=Move.BLOCKED, sentence=error.message))
    return Plan(drifted=drifted(done), steps=tuple(done))


_ACTIONS = {Move.PROMOTE: Action.PROMOTE, Move.ROLL_BACK: Action.OPERATE, Move.ENVIRONMENTS: Action.ADMINISTER}


def _do(store: Store, jobs: Jobs, ids: Ids, configs: ConfigReader, step: PlanStep, why: Why) -> str:
    if step.move is Move.PROMOTE and step.wanted:
        return request_promotion(store, jobs, ids, configs, step.wanted, step.environment, why)[0].id
    if step.move is Move.ROLL_BACK and step.wanted:
        # Away from a canary the stable version needs no name: it has the rest of the traffic already.
        to = step.wanted if step.wanted != step.now else None
        return f"generation {roll_back(store, step.endpoint, why, to=to).generation}"
    return ""


def _steps(tx: Transaction, desired: Desired) -> tuple[PlanStep, ...]:
    known = environments_of(tx)
    first: tuple[PlanStep, ...] = ()
    wanted = known
    if desired.environments is not None:
        wanted = replace(known, environments=in_order(desired.environments))
        if wanted.environments != known.environments:
            first = (_environments_step(known, wanted),)
    standings = [_standing(tx, each) for each in desired.live]
    return (*first, *plan(standings, wanted), *_unlisted(tx, desired))


def _environments_step(known: Environments, wanted: Environments) -> PlanStep:
    before = {place.name: place for place in known.environments}
    after = {place.name: place for place in wanted.environments}
    told = [
        (word, names)
        for word, names in (
            ("new: ", sorted(after.keys() - before.keys())),
            ("gone: ", sorted(before.keys() - after.keys())),
            ("changed: ", sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
        )
        if names
    ]
    sentence = "; ".join(word + ", ".join(names) for word, names in told) or "in another order"
    return PlanStep(move=Move.ENVIRONMENTS, endpoint="", environment="", sentence=sentence)


def _standing(tx: Transaction, wanted: Wanted) -> Standing:
    endpoint = next(iter(tx.find(Endpoint, id=wanted.endpoint, limit=1)), None)
    try:
        version = tx.get(Version, wanted.version)
    except NotFound:
        return Standing(wanted=wanted, endpoint=endpoint, version=None)
    asked = tx.find(
        Promotion,
        version=version.id,
        environment=wanted.environment,
        state=[state.value for state in OPEN],
        limit=1,
    )
    return Standing(
        wanted=wanted,
        endpoint=endpoint,
        version=version,
        released=frozenset(released_in(tx, version)),
        asked=asked[0] if asked else None,
    )


def _unlisted(tx: Transaction, desired: Desired) -> tuple[PlanStep, ...]:
    listed = {each.endpoint for each in desired.live}
    models = sorted({each.model for each in desired.live})
    found = [endpoint for model in models for endpoint in tx.find(Endpoint, model=model, limit=1000)]
    return tuple(
        PlanStep(
            move=Move.UNLISTED,
            endpoint=endpoint.id,
            environment=endpoint.environment,
            now=endpoint.stable,
            sentence=f"{endpoint.stable} answers, and the file does not speak of it",
        )
        for endpoint in found
        if endpoint.stable and endpoint.id not in listed
    )
