"""Take a logged model as a new version: keep what was asked, and let a job package it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lockgate.base.digest import check_digest, digest_of
from lockgate.base.errors import Invalid, NotFound
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.gates.environments import Environments
from lockgate.domain.gates.rules import may_request
from lockgate.domain.registry.records import Model, Version, VersionState, version_id
from lockgate.ports import Blobs, ConfigReader, Jobs, Store, Transaction, Why
from lockgate.workflows.set_environments import environments_of

JOB = "package"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What somebody hands in."""

    #: run_id and artifact, or registered_model and version, or uri; nothing for a model that is answered elsewhere.
    source: dict[str, str]
    #: The text of the lockgate.yaml.
    config: str
    #: Role (holdout, training) -> digest of an uploaded table.
    data: dict[str, str]
    #: Environment to promote to as soon as it is packaged.
    to: str | None = None


def submit_version(
    store: Store, jobs: Jobs, blobs: Blobs, configs: ConfigReader, asked: Submission, why: Why
) -> tuple[Version, str]:
    """Create the next version of a model and the job that packages it.

    Returns:
        The version, still packaging, and the job's id.

    Raises:
        Invalid: the configuration, the source or the data, with every problem.
        NotFound: a data set that was never uploaded.
        NotAllowedNow: a new version cannot go to that environment first.
    """
    config = configs.read(asked.config)
    _check_source(asked.source, config)
    _check_data(blobs, config, asked.data)
    with store.begin(why) as tx:
        _check_environments(config, environments_of(tx))
        if asked.to is not None:
            # Found out only when it is packaged, this would fail a version that is good.
            environments_of(tx).named(asked.to)
            may_request(asked.to, (), environments_of(tx)).demand()
        _ensure_model(tx, config, why)
        newest = tx.find(Version, model=config.model, order="-number", limit=1)
        number = newest[0].number + 1 if newest else 1
        version = tx.add(
            Version(
                id=version_id(config.model, number),
                model=config.model,
                number=number,
                state=VersionState.PACKAGING,
                config=asked.config,
                config_digest=digest_of(asked.config.encode()),
                data=dict(asked.data),
                source=dict(asked.source),
                registered_model=asked.source.get("registered_model", ""),
                created_at=why.at,
                created_by=why.actor,
            )
        )
        wanted = {"version": version.id, "to": asked.to, "reason": why.reason, "behind": why.behind}
        job = jobs.enqueue(tx, JOB, wanted, slot=f"{JOB}/{version.model}")
        tx.record("version.submitted", version, after=version)
        return version, job


def _ensure_model(tx: Transaction, config: ModelConfig, why: Why) -> None:
    try:
        known = tx.get(Model, config.model)
    except NotFound:
        made = tx.add(
            Model(
                id=config.model,
                owner=config.owner,
                risk=config.risk,
                description=config.description,
                created_at=why.at,
                created_by=why.actor,
            )
        )
        tx.record("model.created", made, after=made)
        return
    if known.owner != config.owner:
        raise Invalid(
            f"the model {known.id!r} belongs to {known.owner!r}, not to {config.owner!r}",
            hint="choose another name for the model, or write its owner into lockgate.yaml",
        )


def _check_environments(config: ModelConfig, environments: Environments) -> None:
    named = [(f"environments.{name}", name) for name in config.environments]
    named += [(f"gates[{index}].in", name) for index, gate in enumerate(config.gates) for name in gate.environments]
    problems = [f"{where}: there is no environment {name!r}" for where, name in named if name not in environments.names]
    if problems:
        raise Invalid(
            "lockgate.yaml names environments that are not there",
            problems=problems,
            hint=f"the environments are {', '.join(environments.names)}",
        )


def _check_source(source: Mapping[str, str], config: ModelConfig) -> None:
    if config.serving.lane == "upstream":
        if source:
            raise Invalid(
                "a model that is answered elsewhere has no source beside serving.upstream",
                hint="submit without a run, version or URI, or choose another lane",
            )
        return
    forms = ({"run_id"}, {"run_id", "artifact"}, {"registered_model", "version"}, {"uri"})
    if set(source) not in forms or not all(source.values()):
        raise Invalid(
            "the source of a model is a run, a registered version or a URI",
            hint="give run_id (and artifact), or registered_model and version, or uri",
        )


def _check_data(blobs: Blobs, config: ModelConfig, data: Mapping[str, str]) -> None:
    unknown = sorted(set(data) - set(config.data.files))
    missing = sorted(set(config.data.files) - set(data))
    problems = [f"data {role!r} was uploaded, but lockgate.yaml does not name it" for role in unknown]
    problems += [f"data {role!r} is named in lockgate.yaml, but was not uploaded" for role in missing]
    if problems:
        raise Invalid("the data do not fit lockgate.yaml", problems=problems)
    for role, digest in data.items():
        if not blobs.has(check_digest(digest)):
            raise NotFound(f"the data {role!r} ({digest}) were never uploaded", hint="POST them to /api/v1/data first")
