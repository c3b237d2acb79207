"""What there shall be, by a file: environments, and which version answers where."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import LATER, AccessTo, declared_router, needs
from lockgate.domain.access.records import Action
from lockgate.domain.gates.environments import Environments
from lockgate.workflows.apply_state import Plan, apply_state, plan_state
from lockgate.workflows.set_environments import environments_of

router = declared_router("", tag="state")


class StateIn(BaseModel):
    """A file of what there shall be."""

    model_config = ConfigDict(extra="forbid")

    #: Its text.
    text: str = Field(max_length=200_000)


class ApplyIn(StateIn):
    """A file to bring reality in line with."""

    reason: str = Field(min_length=1, max_length=1000)


@router.get("/environments")
@needs(Action.VIEW)
def environments(access: AccessTo) -> Environments:
    """Every environment, in the order that versions pass through them."""
    with access.parts.store.reading() as tx:
        return environments_of(tx)


@router.post("/state/plan")
@needs(Action.VIEW)
def plan(body: StateIn, access: AccessTo) -> Plan:
    """What it would take to bring reality in line with a file, and whether anything is other than it says."""
    return plan_state(access.parts.store, access.parts.configs.state(body.text))


@router.post("/state/apply")
@needs(Action.PROMOTE, environment=LATER)
def apply(body: ApplyIn, access: AccessTo) -> Plan:
    """Do all that can be done now; gates, signatures and rollouts take their course. Apply again to go on."""
    parts = access.parts

    def demand(action: Action, environment: str) -> None:
        if action is Action.PROMOTE:
            access.require(environment=environment)
        else:
            access.require_also(action, environment=environment)

    desired = parts.configs.state(body.text)
    # Reality may be in line already: somebody who may promote nowhere still learns nothing more than a plan tells.
    access.settled = True
    done = apply_state(parts.store, parts.jobs, parts.ids, parts.configs, desired, access.why(body.reason), demand)
    parts.news.ring()
    return done
