"""Judge a version for an environment. Runs in a job's child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lockgate.base.clock import Clock
from lockgate.base.errors import NotFound
from lockgate.base.ids import Ids
from lockgate.base.verdict import Verdict, worst
from lockgate.domain.gates.config import Policy
from lockgate.domain.gates.evidence import bound
from lockgate.domain.gates.records import Endpoint, GateReport, GateResult, Promotion, PromotionState
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.records import Version
from lockgate.domain.routing.table import endpoint_name
from lockgate.ports import Blobs, ConfigReader, Job, Jobs, Store, Transaction, Why, Workbench
from lockgate.workflows.release_version import decide_promotion
from lockgate.workflows.request_promotion import policy_of


def evaluate_gates(
    job: Job,
    *,
    store: Store,
    jobs: Jobs,
    blobs: Blobs,
    workbench: Workbench,
    configs: ConfigReader,
    ids: Ids,
    clock: Clock,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Run every gate of the policy, keep the report, and move the promotion on.

    Raises:
        Unavailable: the store is away; the job is tried again.
    """
    with store.reading() as tx:
        promotion = tx.get(Promotion, job.payload["promotion"])
        version = tx.get(Version, promotion.version)
        policy = policy_of(tx, configs, version, promotion.environment)
        champion = champion_of(tx, promotion)
    if promotion.state is not PromotionState.GATING:
        return _finish(job, store, jobs, clock, promotion, lambda tx, why: promotion)
    progress(f"judging {version.id} for {promotion.environment}")
    results = judge(version, champion, policy, workbench=workbench, blobs=blobs)

    def keep(tx: Transaction, why: Why) -> Promotion:
        asked = tx.get(Promotion, promotion.id)
        # Somebody may have turned it down while the gates were at work: it stays down.
        if asked.state is not PromotionState.GATING:
            return asked
        report = tx.add(
            GateReport(
                id=ids.new("report", why.at),
                model=version.model,
                version=version.id,
                environment=promotion.environment,
                package=promotion.package,
                policy_digest=policy.digest,
                data=version.data,
                champion=champion.package if champion else None,
                results=bound(
                    results,
                    package=promotion.package,
                    champion=champion.package if champion else None,
                    data=version.data,
                    policy=policy.digest,
                ),
                verdict=worst(result.verdict for result in results),
                created_at=why.at,
            )
        )
        tx.record("report.made", report, after=report)
        judged = tx.save(replace(asked, report=report.id, policy_digest=policy.digest))
        tx.record("promotion.judged", judged, before=asked, after=judged)
        return decide_promotion(tx, ids, configs, judged, why)

    return _finish(job, store, jobs, clock, promotion, keep)


def champion_of(tx: Transaction, promotion: Promotion) -> Version | None:
    """The version that is live where the promotion wants to go."""
    try:
        endpoint = tx.get(Endpoint, endpoint_name(promotion.model, promotion.environment))
    except NotFound:
        return None
    return tx.get(Version, endpoint.stable) if endpoint.stable else None


def judge(
    version: Version, champion: Version | None, policy: Policy, *, workbench: Workbench, blobs: Blobs
) -> list[GateResult]:
    """Every gate of the policy, judged on the version's data."""
    data = {role: blobs.path(digest) for role, digest in version.data.items()}
    if version.manifest is None:
        return [GateResult(gate="package", name="", verdict=Verdict.UNKNOWN, sentence="there is no package to judge")]
    return workbench.evaluate(policy, version.manifest, _manifest(champion), data)


def _manifest(version: Version | None) -> Manifest | None:
    return version.manifest if version else None


def _finish(
    job: Job,
    store: Store,
    jobs: Jobs,
    clock: Clock,
    promotion: Promotion,
    keep: Callable[[Transaction, Why], Promotion],
) -> dict[str, Any]:
    why = Why(actor="lockgate", reason=promotion.reason, at=clock.now(), links=(("job", job.id),))
    with store.begin(why) as tx:
        moved = keep(tx, why)
        result = {
            "promotion": moved.id,
            "state": moved.state.value,
            "report": moved.report,
            "sentence": moved.sentence,
        }
        jobs.finish(job, tx, result)
    return result
