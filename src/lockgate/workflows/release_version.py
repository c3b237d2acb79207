"""Turn a promotion into a release, when evidence and signatures allow it, and start its rollout."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from lockgate.base.errors import NotAllowedNow, NotFound
from lockgate.base.ids import Ids
from lockgate.domain.access.records import Principal
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.gates.environments import Environment
from lockgate.domain.gates.records import Endpoint, GateReport, Promotion, PromotionState, Release
from lockgate.domain.gates.rules import APPROVAL_NEEDED, Decision, may_release
from lockgate.domain.gates.waivers import Waiver, WaiverState
from lockgate.domain.registry.records import Version
from lockgate.domain.rollout.records import Phase, Rollout, Strategy
from lockgate.domain.rollout.schedule import shut
from lockgate.domain.routing.table import endpoint_name
from lockgate.ports import ConfigReader, Transaction, Why
from lockgate.workflows.publish_rollout import publish_rollout
from lockgate.workflows.request_promotion import policy_of, released_in
from lockgate.workflows.set_environments import environments_of


def decide_promotion(tx: Transaction, ids: Ids, configs: ConfigReader, promotion: Promotion, why: Why) -> Promotion:
    """Release a judged promotion, let it wait for approvals, or refuse it, each with the reason."""
    version = tx.get(Version, promotion.version)
    decision = judge(tx, configs, promotion, version, why.at)
    if decision.allowed:
        waived = replace(promotion, waivers=decision.waivers)
        return release_in(tx, ids, configs.read(version.config), waived, version, why, note=_note(decision))
    state = PromotionState.AWAITING_APPROVAL if decision.code == APPROVAL_NEEDED else PromotionState.REFUSED
    sentence = f"{decision.sentence} — {decision.hint}" if decision.hint else decision.sentence
    after = tx.save(replace(promotion, state=state, sentence=sentence, waivers=decision.waivers))
    tx.record(f"promotion.{state.value}", after, before=promotion, after=after)
    return after


def judge(tx: Transaction, configs: ConfigReader, promotion: Promotion, version: Version, now: datetime) -> Decision:
    """Whether the promotion may become a release now, by the state of things in this transaction."""
    endpoint = known_endpoint(tx, promotion)
    if endpoint is not None and endpoint.rollout is not None:
        return Decision(
            allowed=False,
            code=NotAllowedNow.code,
            sentence=f"a rollout of {endpoint.candidate} is under way on {endpoint.id}",
            hint="wait until it is over, or abort it, then promote again",
        )
    champion = tx.get(Version, endpoint.stable).package if endpoint and endpoint.stable else None
    return may_release(
        promotion,
        tx.get(GateReport, promotion.report) if promotion.report else None,
        policy=policy_of(tx, configs, version, promotion.environment),
        data=version.data,
        champion=champion,
        released=released_in(tx, version),
        people={
            person.id: {*person.roles, *person.groups}
            for person in tx.find(Principal, person=True, disabled=False, limit=100_000)
        },
        now=now,
        environments=environments_of(tx),
        waivers=tx.find(
            Waiver, model=promotion.model, environment=promotion.environment, state=WaiverState.APPROVED, limit=10_000
        ),
    )


def _note(decision: Decision) -> str:
    return f"; {decision.sentence}" if decision.waivers else ""


def release_in(
    tx: Transaction,
    ids: Ids,
    config: ModelConfig,
    promotion: Promotion,
    version: Version,
    why: Why,
    *,
    note: str = "",
) -> Promotion:
    """Make the release and start its rollout, without asking whether it may be; ``note`` goes behind its sentence."""
    endpoint = known_endpoint(tx, promotion)
    if endpoint is None:
        endpoint = tx.add(
            Endpoint(
                id=endpoint_name(promotion.model, promotion.environment),
                model=promotion.model,
                environment=promotion.environment,
                updated_at=why.at,
            )
        )
    place = environments_of(tx).named(promotion.environment)
    strategy = _strategy(config, place, first=endpoint.stable is None)
    release_id, rollout_id = ids.new("release", why.at), ids.new("rollout", why.at)
    release = tx.add(
        Release(
            id=release_id,
            model=promotion.model,
            version=version.id,
            environment=promotion.environment,
            endpoint=endpoint.id,
            package=promotion.package,
            report=promotion.report or "",
            promotion=promotion.id,
            rollout=rollout_id,
            created_at=why.at,
            created_by=promotion.requested_by,
        )
    )
    tx.record("release.made", release, after=release)
    rollout = _rollout(release, endpoint, strategy, promotion.reason, why)
    kept = tx.add(rollout)
    tx.record("rollout.started", kept, after=kept)
    publish_rollout(tx, endpoint, kept, why)
    after = tx.save(
        replace(
            promotion,
            state=PromotionState.RELEASED,
            release=release_id,
            sentence=f"released on {endpoint.id}{note}",
        )
    )
    tx.record("promotion.released", after, before=promotion, after=after)
    return after


def _rollout(release: Release, endpoint: Endpoint, strategy: Strategy, reason: str, why: Why) -> Rollout:
    phase = _first_phase(strategy, why.at)
    return Rollout(
        id=release.rollout,
        endpoint=endpoint.id,
        model=release.model,
        environment=release.environment,
        release=release.id,
        candidate=release.version,
        stable=endpoint.stable if endpoint.stable != release.version else None,
        strategy=strategy,
        step=0,
        step_started_at=why.at,
        phase=phase,
        reason=reason,
        created_at=why.at,
        finished_at=why.at if phase.over else None,
    )


def _strategy(config: ModelConfig, place: Environment, *, first: bool) -> Strategy:
    asked = config.entering(place).strategy
    # A model's file may close hours, and opens none that its environment keeps shut.
    schedules = tuple(dict.fromkeys((*place.strategy.schedules, *asked.schedules)))
    return Strategy(schedules=schedules) if first else replace(asked, schedules=schedules)


def _first_phase(strategy: Strategy, now: datetime) -> Phase:
    if shut(strategy.schedules, now):
        return Phase.SCHEDULED
    return Phase.RUNNING if strategy.steps else Phase.COMPLETED


def known_endpoint(tx: Transaction, promotion: Promotion) -> Endpoint | None:
    """Where the promotion wants to go, if anything was ever released there."""
    try:
        return tx.get(Endpoint, endpoint_name(promotion.model, promotion.environment))
    except NotFound:
        return None
