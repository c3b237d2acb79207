"""Judge what is live once more: by today's policy, on its own data or on newer ones. Runs in a job's child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lockgate.base.clock import Clock
from lockgate.base.errors import NotAllowedNow
from lockgate.base.ids import Ids
from lockgate.base.verdict import Verdict, worst
from lockgate.domain.gates.evidence import bound
from lockgate.domain.gates.records import Endpoint, GateReport
from lockgate.domain.incidents.records import Incident, IncidentKind, IncidentState, TimelineEvent
from lockgate.domain.registry.records import Version
from lockgate.ports import Blobs, ConfigReader, Job, Jobs, Store, Transaction, Why, Workbench
from lockgate.workflows.evaluate_gates import judge
from lockgate.workflows.request_promotion import policy_of

_ACTOR = "lockgate"


def regate_version(
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
    """Run the gates on the version that serves an endpoint, keep the report, and call somebody if it no longer passes.

    Nothing is rolled back by it: what is live goes on until a person, or a guard, says otherwise.

    Raises:
        NotFound: no such endpoint, or data that were never uploaded.
        NotAllowedNow: nothing is live there.
        Unavailable: the store is away; the job is tried again.
    """
    with store.reading() as tx:
        endpoint = tx.get(Endpoint, job.payload["endpoint"])
        if endpoint.stable is None:
            raise NotAllowedNow(f"nothing is live on {endpoint.id}", hint="promote a version, or remove the schedule")
        version = tx.get(Version, endpoint.stable)
        policy = policy_of(tx, configs, version, endpoint.environment)
        before = tx.get(Version, endpoint.previous) if endpoint.previous else None
    progress(f"judging {version.id}, which is live on {endpoint.id}")
    data = {**version.data, **job.payload.get("data", {})}
    results = judge(replace(version, data=data), before, policy, workbench=workbench, blobs=blobs)
    champion = before.package if before else None
    verdict = worst(result.verdict for result in results)
    failed = [f"{result.gate}: {result.sentence}" for result in results if result.verdict is not Verdict.PASS]
    told = f"{version.id} on {endpoint.id}: " + ("; ".join(failed)[:1500] or "every gate passes")
    why = Why(actor=_ACTOR, reason=told, at=clock.now(), links=(("job", job.id),))
    with store.begin(why) as tx:
        report = tx.add(
            GateReport(
                id=ids.new("report", why.at),
                model=version.model,
                version=version.id,
                environment=endpoint.environment,
                package=version.package or "",
                policy_digest=policy.digest,
                data=data,
                champion=champion,
                results=bound(
                    results, package=version.package or "", champion=champion, data=data, policy=policy.digest
                ),
                verdict=verdict,
                created_at=why.at,
            )
        )
        tx.record("report.made", report, after=report)
        incident = "" if verdict is Verdict.PASS else _call(tx, ids, endpoint, report, why)
        result = {"report": report.id, "verdict": verdict.value, "sentence": told, "incident": incident}
        jobs.finish(job, tx, result)
    return result


def _call(tx: Transaction, ids: Ids, endpoint: Endpoint, report: GateReport, why: Why) -> str:
    """Tell it in the open incident of that version, or open one."""
    event = TimelineEvent(at=why.at, kind="gates", sentence=f"report {report.id}: {why.reason}", by=_ACTOR)
    states = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED, IncidentState.MITIGATED)
    known = tx.find(Incident, endpoint=endpoint.id, version=report.version, state=states, order="-opened_at", limit=100)
    for incident in known:
        if incident.kind is IncidentKind.ALERT:
            after = tx.save(replace(incident, timeline=(*incident.timeline, event)))
            tx.record("incident.grew", after, before=incident, after=after)
            return after.id
    word = "no longer passes its gates" if report.verdict is Verdict.FAIL else "can no longer be judged"
    opened = tx.add(
        Incident(
            id=ids.new("incident", why.at),
            endpoint=endpoint.id,
            model=endpoint.model,
            environment=endpoint.environment,
            version=report.version,
            title=f"{report.version} on {endpoint.id} {word}",
            state=IncidentState.OPEN,
            timeline=(event,),
            opened_at=why.at,
        )
    )
    tx.record("incident.opened", opened, after=opened)
    return opened.id
