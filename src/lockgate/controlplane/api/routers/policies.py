"""Policy files: what is demanded where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lockgate.base.errors import NotFound
from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.controlplane.api.routers.promotions import ReasonIn
from lockgate.domain.access.records import Action
from lockgate.domain.gates.config import Policy
from lockgate.domain.gates.policies import PolicyFile, PolicyText
from lockgate.domain.registry.records import Version, version_id
from lockgate.workflows.apply_policy import apply_policy, withdraw_policy
from lockgate.workflows.dry_run_policy import DryRun, dry_run_policy
from lockgate.workflows.request_promotion import policies_in_force, policy_of

router = declared_router("", tag="policies")

_TEXT = Field(max_length=200_000)


class PolicyIn(BaseModel):
    """A policy file, and why it shall hold."""

    model_config = ConfigDict(extra="forbid")

    text: str = _TEXT
    reason: str = Field(min_length=1, max_length=1000)


class TrialIn(BaseModel):
    """A policy file that is only tried."""

    model_config = ConfigDict(extra="forbid")

    text: str = _TEXT
    #: How far back to look.
    days: int = Field(default=90, ge=1, le=3660)


class PolicyOut(BaseModel):
    """A policy file, and since when it holds; number 0 is what comes with the platform."""

    name: str
    number: int
    description: str
    digest: str
    text: str
    active: bool
    applied_by: str | None
    applied_at: datetime | None


@router.post("/policies", status_code=201)
@needs(Action.ADMINISTER)
def apply(body: PolicyIn, access: AccessTo) -> PolicyFile:
    """Put a policy file in force, in place of the one of its name."""
    return apply_policy(access.parts.store, access.parts.configs, body.text, access.why(body.reason))


@router.get("/policies")
@needs(Action.VIEW)
def list_policies(access: AccessTo) -> list[PolicyOut]:
    """What is in force, the platform's own policy first."""
    with access.parts.store.reading() as tx:
        files = policies_in_force(tx, access.parts.configs)
    return [_out(file) for file in files.values()]


@router.get("/policies/{name}")
@needs(Action.VIEW)
def show_policy(
    name: str, access: AccessTo, number: Annotated[int | None, Query(ge=0, description="an older one")] = None
) -> PolicyOut:
    """One policy file: the one in force, or any that ever was."""
    with access.parts.store.reading() as tx:
        found = policies_in_force(tx, access.parts.configs).get(name) if number is None else None
        if number == 0 and name == access.parts.configs.default_policy().name:
            found = access.parts.configs.default_policy()
        elif number is not None:
            found = tx.get(PolicyFile, f"{name}:{number}")
    if found is None:
        raise NotFound(f"no policy {name[:80]!r} is in force", hint="`lockgate policy list` shows what is")
    return _out(found)


@router.post("/policies/{name}/withdraw")
@needs(Action.ADMINISTER)
def withdraw(name: str, body: ReasonIn, access: AccessTo) -> PolicyFile:
    """Take a policy file out of force."""
    return withdraw_policy(access.parts.store, name, access.why(body.reason))


@router.post("/policies/dry-run")
@needs(Action.VIEW)
def dry_run(body: TrialIn, access: AccessTo) -> DryRun:
    """What a policy file would have refused in the last days, by the evidence that was kept. Changes nothing."""
    parts = access.parts
    return dry_run_policy(parts.store, parts.configs, body.text, days=body.days, now=parts.clock.now())


@router.get("/models/{model}/versions/{number}/policy")
@needs(Action.VIEW)
def show_demanded(
    model: str, number: int, access: AccessTo, environment: Annotated[str, Query(max_length=63)] = "prod"
) -> Policy:
    """What an environment demands of a version: the policies in force and its own file, put together."""
    with access.parts.store.reading() as tx:
        return policy_of(tx, access.parts.configs, tx.get(Version, version_id(model, number)), environment)


def _out(file: PolicyFile | PolicyText) -> PolicyOut:
    kept = isinstance(file, PolicyFile)
    return PolicyOut(
        name=file.name,
        number=file.number if kept else 0,
        description=file.description,
        digest=file.digest,
        text=file.text,
        active=file.active if kept else True,
        applied_by=file.applied_by if kept else None,
        applied_at=file.created_at if kept else None,
    )
