"""Which of MLflow's routes are open, and what their caller must be allowed. All that is not here is refused.

Left out on purpose: webhooks (they call out), gateways and their secrets, jobs, the assistant, scorers' code and
presigned addresses (they pass by us), MCP servers, workspaces' administration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from lockgate.domain.access.records import Action


class Care(Enum):
    """What the proxy does with a request besides asking whether its caller may."""

    #: Nothing more; the body streams through.
    PASS = "pass"  # noqa: S105 - a kind of care, not a word to get in with
    #: The body is read, checked field by field, judged, and written anew.
    CHECK = "check"
    #: As `CHECK`, for a GraphQL document.
    GRAPHQL = "graphql"
    #: A file: it may be large, and a browser must never run it.
    FILE = "file"


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """An open route."""

    action: Action
    care: Care


_LOOK = """
GET  /
GET  static-files/{*}
GET  health
GET  version
GET  mlflow/server-info
GET  mlflow/ui-telemetry
GET  mlflow/experiments/get
GET  mlflow/experiments/get-by-name
GET  mlflow/experiments/search
POST mlflow/experiments/search
POST mlflow/experiments/search-datasets
GET  mlflow/runs/get
POST mlflow/runs/search
GET  mlflow/metrics/get-history
GET  mlflow/metrics/get-history-bulk
GET  mlflow/metrics/get-history-bulk-interval
GET  mlflow/artifacts/list
GET  mlflow/registered-models/get
GET  mlflow/registered-models/search
GET  mlflow/registered-models/alias
GET  mlflow/registered-models/get-latest-versions
POST mlflow/registered-models/get-latest-versions
GET  mlflow/model-versions/get
GET  mlflow/model-versions/search
GET  mlflow/model-versions/get-download-uri
GET  mlflow/logged-models/{}
POST mlflow/logged-models/search
GET  mlflow/logged-models/{}/artifacts/directories
GET  mlflow/datasets/search
POST mlflow/datasets/search
GET  mlflow/datasets/{}
GET  mlflow/datasets/{}/records
GET  mlflow/datasets/{}/experiment-ids
GET  mlflow/traces
GET  mlflow/traces/get
GET  mlflow/traces/batchGet
POST mlflow/traces/batchGetInfos
POST mlflow/traces/search
POST mlflow/traces/metrics
POST mlflow/traces/calculate-filter-correlation
GET  mlflow/traces/{}
GET  mlflow/traces/{}/info
GET  mlflow/traces/{}/assessments/{}
GET  mlflow/unified-traces
GET  mlflow/label-schemas/list
GET  mlflow/review-queues/list
GET  mlflow/scorers/list
GET  mlflow/scorers/versions
GET  mlflow/workspaces
GET  mlflow-artifacts/artifacts
"""

_LOOK_AT_FILES = """
GET  get-artifact
GET  model-versions/get-artifact
GET  mlflow/get-trace-artifact
GET  mlflow/logged-models/{}/artifacts/files
GET  mlflow-artifacts/artifacts/{*}
"""

_WRITE = """
POST   mlflow/experiments/update
POST   mlflow/experiments/delete
POST   mlflow/experiments/restore
POST   mlflow/experiments/set-experiment-tag
POST   mlflow/experiments/delete-experiment-tag
POST   mlflow/runs/create
POST   mlflow/runs/update
POST   mlflow/runs/delete
POST   mlflow/runs/restore
POST   mlflow/runs/set-tag
POST   mlflow/runs/delete-tag
POST   mlflow/runs/log-metric
POST   mlflow/runs/log-parameter
POST   mlflow/runs/log-batch
POST   mlflow/runs/log-inputs
POST   mlflow/runs/log-model
POST   mlflow/runs/outputs
POST   mlflow/logged-models
PATCH  mlflow/logged-models/{}
DELETE mlflow/logged-models/{}
POST   mlflow/logged-models/{}/params
PATCH  mlflow/logged-models/{}/tags
DELETE mlflow/logged-models/{}/tags/{}
POST   mlflow/registered-models/create
PATCH  mlflow/registered-models/update
POST   mlflow/registered-models/set-tag
DELETE mlflow/registered-models/delete-tag
PATCH  mlflow/model-versions/update
POST   mlflow/model-versions/set-tag
DELETE mlflow/model-versions/delete-tag
POST   mlflow/datasets/create
DELETE mlflow/datasets/{}
POST   mlflow/datasets/{}/records
DELETE mlflow/datasets/{}/records
POST   mlflow/datasets/{}/add-experiments
POST   mlflow/datasets/{}/remove-experiments
PATCH  mlflow/datasets/{}/tags
DELETE mlflow/datasets/{}/tags/{}
POST   mlflow/traces
PATCH  mlflow/traces/{}
PATCH  mlflow/traces/{}/tags
DELETE mlflow/traces/{}/tags
POST   mlflow/traces/{}/assessments
PATCH  mlflow/traces/{}/assessments/{}
DELETE mlflow/traces/{}/assessments/{}
POST   mlflow/traces/delete-traces
POST   mlflow/traces/link-to-run
POST   mlflow/traces/link-prompts
POST   v1/traces
"""

_WRITE_FILES = """
PUT    mlflow-artifacts/artifacts/{*}
DELETE mlflow-artifacts/artifacts/{*}
POST   mlflow/upload-artifact
"""

#: Each has its fields in `bodies`.
_WRITE_CHECKED = """
POST   mlflow/experiments/create
POST   mlflow/model-versions/create
POST   mlflow/registered-models/alias
DELETE mlflow/registered-models/alias
POST   mlflow/registered-models/rename
DELETE mlflow/registered-models/delete
POST   mlflow/model-versions/transition-stage
DELETE mlflow/model-versions/delete
"""

_TABLE = (
    (_LOOK, Opened(action=Action.VIEW, care=Care.PASS)),
    (_LOOK_AT_FILES, Opened(action=Action.VIEW, care=Care.FILE)),
    ("POST graphql", Opened(action=Action.VIEW, care=Care.GRAPHQL)),
    (_WRITE, Opened(action=Action.SUBMIT, care=Care.PASS)),
    (_WRITE_FILES, Opened(action=Action.SUBMIT, care=Care.FILE)),
    (_WRITE_CHECKED, Opened(action=Action.SUBMIT, care=Care.CHECK)),
)


def find(method: str, name: str) -> Opened | None:
    """The open route of this method and clean name, or None."""
    method = "GET" if method == "HEAD" else method
    exact = _EXACT.get((method, name))
    if exact is not None:
        return exact
    return next((opened for verb, shape, opened in _SHAPES if verb == method and shape.fullmatch(name)), None)


def routes() -> Iterator[tuple[str, str, Opened]]:
    """Method, pattern and rule of every open route."""
    for lines, opened in _TABLE:
        for line in lines.strip().splitlines():
            method, pattern = line.split()
            yield method, pattern.removeprefix("/"), opened


def _shape(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\{\*\}", ".+").replace(r"\{\}", "[^/]+"))


_EXACT = {(method, pattern): opened for method, pattern, opened in routes() if "{" not in pattern}
_SHAPES = [(method, _shape(pattern), opened) for method, pattern, opened in routes() if "{" in pattern]
