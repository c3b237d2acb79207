"""What a policy would have refused, had it been in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lockgate.base.verdict import Verdict, worst
from lockgate.domain.gates.hindsight import Hindsight, in_hindsight
from lockgate.domain.gates.policies import PolicyRule, auto_metric, rules_of
from lockgate.domain.gates.records import GateReport, Promotion, PromotionState
from lockgate.domain.registry.records import Version
from lockgate.ports import ConfigReader, Store, Transaction
from lockgate.workflows.request_promotion import demanded, policies_in_force

#: Promotions that are looked at, the newest first.
MOST = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconsidered:
    """One promotion, in the light of another policy."""

    promotion: str
    version: str
    environment: str
    report: str
    state: PromotionState
    at: datetime
    verdict: Verdict
    #: What does not pass, and why.
    findings: tuple[Hindsight, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRun:
    """What a policy would have done."""

    policy: str
    days: int
    #: How many judged promotions there were, and how many of those that were released would have been refused.
    judged: int
    released: int
    refused: int
    #: Those that would have been refused, newest first.
    promotions: tuple[Reconsidered, ...]


def dry_run_policy(store: Store, configs: ConfigReader, text: str, *, days: int, now: datetime) -> DryRun:
    """Judge the promotions of the last days again, by the evidence that was kept, with this file in force.

    Nothing is changed, and no model is run: evidence that was never made is told as missing.

    Raises:
        Invalid: the file, with every problem and its line.
    """
    candidate = configs.policy(text)
    with store.reading() as tx:
        rules = rules_of({**policies_in_force(tx, configs), candidate.name: candidate})
        since = now - timedelta(days=days)
        known = [each for each in tx.find(Promotion, order="-created_at", since=since, limit=MOST) if each.report]
        seen = [_reconsidered(tx, configs, promotion, rules) for promotion in known]
    refused = [each for each in seen if each.verdict is not Verdict.PASS]
    released = [each for each in seen if each.state is PromotionState.RELEASED]
    return DryRun(
        policy=candidate.name,
        days=days,
        judged=len(seen),
        released=len(released),
        refused=sum(each.verdict is not Verdict.PASS for each in released),
        promotions=tuple(refused),
    )


def _reconsidered(
    tx: Transaction, configs: ConfigReader, promotion: Promotion, rules: tuple[PolicyRule, ...]
) -> Reconsidered:
    version = tx.get(Version, promotion.version)
    report = tx.get(GateReport, promotion.report or "")
    policy = demanded(tx, configs, version, promotion.environment, rules)
    manifest = version.manifest
    auto = auto_metric(manifest.task, manifest.positive) if manifest else ""
    said = list(in_hindsight(policy, report, auto=auto))
    signed = len({approval.by for approval in promotion.approvals})
    if promotion.state is PromotionState.RELEASED and signed < policy.approvals:
        told = f"it was signed by {signed}, and {policy.approvals} are demanded"
        said.append(Hindsight(gate="approvals", name="", verdict=Verdict.FAIL, sentence=told))
    return Reconsidered(
        promotion=promotion.id,
        version=promotion.version,
        environment=promotion.environment,
        report=report.id,
        state=promotion.state,
        at=promotion.created_at,
        verdict=worst([each.verdict for each in said]),
        findings=tuple(each for each in said if each.verdict is not Verdict.PASS),
    )
