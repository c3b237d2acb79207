"""Data, submissions, models, versions, gate reports and jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, records_page
from lockgate.controlplane.api.uploads import Stored, keep_upload
from lockgate.domain.access.records import Action
from lockgate.domain.gates.records import GateReport
from lockgate.domain.registry.records import Model, Version, version_id
from lockgate.workflows.compare_versions import Comparison, compare_versions
from lockgate.workflows.submit_version import Submission, submit_version

router = declared_router("", tag="registry")


class SubmissionIn(BaseModel):
    """A logged model to take as a new version."""

    model_config = ConfigDict(extra="forbid")

    #: run_id and artifact, or registered_model and version, or uri; nothing for a model that is answered elsewhere.
    source: dict[str, str] = Field(default={}, max_length=4)
    #: The text of the lockgate.yaml.
    config: str = Field(max_length=200_000)
    #: Role -> digest of an uploaded table.
    data: dict[str, str] = Field(default={}, max_length=20)
    #: Environment to promote to as soon as it is packaged.
    to: str | None = "dev"
    reason: str = Field(default="", max_length=1000)


class Submitted(BaseModel):
    """The new version and the job that packages it."""

    version: Version
    job: str


@router.post("/data", status_code=201)
@needs(Action.SUBMIT, streams=True)
async def upload(request: Request, access: AccessTo) -> Stored:
    """Keep a table (Parquet or CSV, as the raw body) by its content address."""
    return await keep_upload(request, access.parts.blobs, access.parts.settings.max_upload)


@router.post("/submissions", status_code=202)
@needs(Action.SUBMIT)
def submit(body: SubmissionIn, access: AccessTo) -> Submitted:
    """Take a logged model as a new version; a job packages it and puts it forward."""
    parts = access.parts
    if body.to is not None:
        access.require_also(Action.PROMOTE, environment=body.to)
    asked = Submission(source=body.source, config=body.config, data=body.data, to=body.to)
    version, job = submit_version(
        parts.store, parts.jobs, parts.blobs, parts.configs, asked, access.why(body.reason or "submitted")
    )
    return Submitted(version=version, job=job)


@router.get("/models")
@needs(Action.VIEW)
def list_models(access: AccessTo, limit: Limit = DEFAULT_LIMIT, after: After = None) -> Page[Model]:
    """Every model, by name."""
    with access.parts.store.reading() as tx:
        return records_page(tx.find(Model, limit=limit + 1, after=after), limit)


@router.get("/models/{model}")
@needs(Action.VIEW)
def show_model(model: str, access: AccessTo) -> Model:
    """One model."""
    with access.parts.store.reading() as tx:
        return tx.get(Model, model)


@router.get("/models/{model}/versions")
@needs(Action.VIEW)
def list_versions(model: str, access: AccessTo, limit: Limit = DEFAULT_LIMIT, after: After = None) -> Page[Version]:
    """Its versions, newest first."""
    with access.parts.store.reading() as tx:
        tx.get(Model, model)
        return records_page(tx.find(Version, model=model, order="-number", limit=limit + 1, after=after), limit)


@router.get("/models/{model}/versions/{number}")
@needs(Action.VIEW)
def show_version(model: str, number: int, access: AccessTo) -> Version:
    """One version, with its manifest once it is packaged."""
    with access.parts.store.reading() as tx:
        return tx.get(Version, version_id(model, number))


@router.get("/diff")
@needs(Action.VIEW)
def diff(
    access: AccessTo,
    before: Annotated[str, Query(max_length=100, description="model:number")],
    after: Annotated[str, Query(max_length=100, description="model:number")],
) -> Comparison:
    """What is different between two versions: data, features, parameters, metrics, requirements, gates."""
    return compare_versions(access.parts.store, access.parts.configs, before, after)


@router.get("/models/{model}/versions/{number}/reports")
@needs(Action.VIEW)
def list_reports(
    model: str, number: int, access: AccessTo, limit: Limit = DEFAULT_LIMIT, after: After = None
) -> Page[GateReport]:
    """Its gate reports, newest first."""
    with access.parts.store.reading() as tx:
        version = tx.get(Version, version_id(model, number))
        found = tx.find(GateReport, version=version.id, order="-created_at", limit=limit + 1, after=after)
        return records_page(found, limit)
