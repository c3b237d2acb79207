"""Ask that a version goes to an environment; a job judges it there."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.base.errors import NotAllowedNow
from lockgate.base.ids import Ids
from lockgate.domain.gates.config import Policy
from lockgate.domain.gates.policies import (
    PolicyFile,
    PolicyRule,
    PolicyText,
    auto_metric,
    in_force,
    policy_for,
    rules_of,
)
from lockgate.domain.gates.records import Promotion, PromotionState
from lockgate.domain.gates.rules import may_request
from lockgate.domain.registry.records import Model, Version, VersionState
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.ports import ConfigReader, Jobs, Store, Transaction, Why
from lockgate.workflows.set_environments import environments_of

JOB = "gate"

#: States in which a promotion still waits for somebody.
OPEN = (PromotionState.GATING, PromotionState.AWAITING_APPROVAL)


def request_promotion(
    store: Store, jobs: Jobs, ids: Ids, configs: ConfigReader, version_id: str, environment: str, why: Why
) -> tuple[Promotion, str]:
    """Put a packaged version forward.

    Returns:
        The promotion, still gating, and the id of the job that judges it.

    Raises:
        NotFound: no such version.
        NotAllowedNow: it is not packaged, skips an environment, or is under way there already.
    """
    with store.begin(why) as tx:
        return ask_promotion(tx, jobs, ids, configs, tx.get(Version, version_id), environment, why)


def ask_promotion(
    tx: Transaction, jobs: Jobs, ids: Ids, configs: ConfigReader, version: Version, environment: str, why: Why
) -> tuple[Promotion, str]:
    """As `request_promotion`, in the caller's transaction."""
    if version.state is not VersionState.READY or version.package is None:
        raise NotAllowedNow(
            f"{version.id} is {version.state.value}, only a packaged version can be promoted",
            hint=version.failure or "wait until it is packaged",
        )
    may_request(environment, released_in(tx, version), environments_of(tx)).demand()
    under_way = tx.find(
        Promotion, version=version.id, environment=environment, state=[state.value for state in OPEN], limit=1
    )
    if under_way:
        raise NotAllowedNow(
            f"{under_way[0].id} asks the same already and is {under_way[0].state.value}",
            hint=f"lockgate promotions show {under_way[0].id}",
        )
    policy = policy_of(tx, configs, version, environment)
    id = ids.new("promo", why.at)
    job = jobs.enqueue(tx, JOB, {"promotion": id, "reason": why.reason}, slot=f"{JOB}/{version.model}")
    promotion = tx.add(
        Promotion(
            id=id,
            model=version.model,
            version=version.id,
            environment=environment,
            package=version.package,
            policy_digest=policy.digest,
            state=PromotionState.GATING,
            approvals_needed=policy.approvals,
            sentence="the gates are at work",
            reason=why.reason,
            requested_by=why.actor,
            behind=why.behind,
            created_at=why.at,
            job=job,
        )
    )
    tx.record("promotion.requested", promotion, after=promotion)
    return promotion, job


def policy_of(tx: Transaction, configs: ConfigReader, version: Version, environment: str) -> Policy:
    """What the environment demands of this version; the model's own risk tier holds, whatever the file says."""
    return demanded(tx, configs, version, environment, rules_of(policies_in_force(tx, configs)))


def demanded(
    tx: Transaction, configs: ConfigReader, version: Version, environment: str, rules: Sequence[PolicyRule]
) -> Policy:
    """As `policy_of`, by certain rules."""
    known = version.manifest
    return policy_for(
        configs.read(version.config),
        environment,
        tx.get(Model, version.model).risk,
        environments=environments_of(tx),
        rules=rules,
        auto=auto_metric(known.task, known.positive) if known else "",
    )


def policies_in_force(tx: Transaction, configs: ConfigReader) -> dict[str, PolicyText | PolicyFile]:
    """The policy files that count now, by name."""
    return in_force(configs.default_policy(), tx.find(PolicyFile, active=True, limit=10_000))


def released_in(tx: Transaction, version: Version) -> set[str]:
    """Environments whose whole traffic this version has had; a rollout that was aborted opens no further gate."""
    done = tx.find(Rollout, candidate=version.id, phase=Phase.COMPLETED)
    return {rollout.environment for rollout in done}
