"""Turn a submitted version into a package. Runs in a job's child process, the only place that opens models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lockgate.base.clock import Clock
from lockgate.base.errors import Conflict, CorruptArtifact, LockgateError, TooLarge, Unavailable, UnsafeArtifact
from lockgate.base.ids import Ids
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.records import Version, VersionState
from lockgate.ports import Blobs, ConfigReader, Job, Jobs, ModelSource, Store, Transaction, Why, Workbench
from lockgate.workflows.request_promotion import ask_promotion

#: What another attempt may cure; every other error is the model's own.
PASSING = (Unavailable, Conflict)


def package_version(
    job: Job,
    *,
    store: Store,
    jobs: Jobs,
    blobs: Blobs,
    source: ModelSource,
    workbench: Workbench,
    configs: ConfigReader,
    ids: Ids,
    clock: Clock,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Read the artifact, package it, and put the version forward if that was asked.

    A model that cannot be packaged is a result, not a failure of the job: the version says why, with a hint.

    Raises:
        Unavailable: the tracking server or the store is away; the job is tried again.
    """
    with store.reading() as tx:
        version = tx.get(Version, job.payload["version"])
    if version.state is not VersionState.PACKAGING:
        return _close(job, store, jobs, version, clock, lambda tx, why: version)
    progress("reading the model")
    try:
        manifest = _build(version, blobs=blobs, source=source, workbench=workbench, configs=configs, progress=progress)
    except PASSING:
        raise
    except LockgateError as error:
        hint = error.hint or "log the model again with mlflow.<flavor>.log_model, then submit that"
        failed = replace(version, state=VersionState.FAILED, failure=_sentence(error), hint=hint)
        return _close(job, store, jobs, version, clock, lambda tx, why: _keep(tx, "version.failed", version, failed))
    ready = replace(
        version,
        state=VersionState.READY,
        package=manifest.digest,
        manifest=manifest,
        registered_model=manifest.source.get("registered_model", version.registered_model),
        source={**version.source, **manifest.source},
    )

    def keep(tx: Transaction, why: Why) -> Version:
        kept = _keep(tx, "version.packaged", version, ready)
        if job.payload.get("to"):
            asker = replace(why, actor=version.created_by, behind=job.payload.get("behind", ""))
            ask_promotion(tx, jobs, ids, configs, kept, job.payload["to"], asker)
        return kept

    return _close(job, store, jobs, version, clock, keep)


def _build(
    version: Version,
    *,
    blobs: Blobs,
    source: ModelSource,
    workbench: Workbench,
    configs: ConfigReader,
    progress: Callable[[str], None],
) -> Manifest:
    config = configs.read(version.config)
    data = {role: blobs.path(digest) for role, digest in version.data.items()}
    with tempfile.TemporaryDirectory(prefix="lockgate-package-") as folder:
        into = Path(folder) / "model"
        # A model that is answered elsewhere has no files to read.
        facts = source.fetch(version.source, into) if config.serving.lane != "upstream" else {}
        progress("packaging and converting")
        return workbench.package(into, data, config, facts)


def _keep(tx: Transaction, action: str, before: Version, after: Version) -> Version:
    kept = tx.save(after)
    tx.record(action, kept, before=before, after=kept)
    return kept


def _close(
    job: Job,
    store: Store,
    jobs: Jobs,
    version: Version,
    clock: Clock,
    keep: Callable[[Transaction, Why], Version],
) -> dict[str, Any]:
    why = Why(actor="lockgate", reason=job.payload.get("reason", ""), at=clock.now(), links=(("job", job.id),))
    with store.begin(why) as tx:
        kept = keep(tx, why)
        result = {"version": kept.id, "state": kept.state.value, "package": kept.package, "failure": kept.failure}
        jobs.finish(job, tx, result)
    return result


def _sentence(error: LockgateError) -> str:
    kind = "unsafe" if isinstance(error, UnsafeArtifact) else "corrupt" if isinstance(error, CorruptArtifact) else ""
    if isinstance(error, TooLarge):
        kind = "too large"
    problems = "; ".join(error.problems)
    told = ": ".join(part for part in (kind, error.message, problems) if part)
    # What a library says may have several lines; this stands in tables and on pages.
    return " ".join(told.split())
