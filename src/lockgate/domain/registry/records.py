"""Models and versions as the platform keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lockgate.domain.registry.manifest import Manifest


class Risk(StrEnum):
    """How much harm a wrong answer can do; picks the default policy."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class VersionState(StrEnum):
    """Where a version is in its life."""

    PACKAGING = "packaging"
    READY = "ready"
    FAILED = "failed"  # could not be packaged
    REVOKED = "revoked"  # may not be promoted or served again


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A named model of a team. Its id is its name."""

    id: str
    revision: int = 0
    owner: str
    risk: Risk
    description: str = ""
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One immutable package of a model. Its id is ``model:number``."""

    id: str
    revision: int = 0
    model: str
    number: int
    state: VersionState
    #: The lockgate.yaml it was submitted with, as text, and that text's digest.
    config: str
    config_digest: str
    #: Data sets by role (holdout, training) -> content address.
    data: dict[str, str]
    #: Where to read the artifact: mlflow run id, registered name and version, source URI.
    source: dict[str, str]
    #: Its name in MLflow's registry, "" where it has none there.
    registered_model: str = ""
    #: Filled when it is packaged.
    package: str | None = None
    manifest: Manifest | None = None
    failure: str = ""
    hint: str = ""
    created_at: datetime
    created_by: str


def version_id(model: str, number: int) -> str:
    """The id of a version."""
    return f"{model}:{number}"
