"""Runs and artifacts as anybody with a token can make them over MLflow's REST API, well-meant or not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.platform import Platform

_API = "/mlflow/api/2.0/mlflow"
_ARTIFACTS = "/mlflow/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that was made here."""

    id: str
    #: Where its artifacts lie below the artifact service.
    root: str


class Tracking:
    """MLflow's REST API, used by hand."""

    def __init__(self, platform: Platform) -> None:
        self._home = platform.home
        self._url = platform.url
        self._client = httpx.Client(headers={"authorization": f"Bearer {platform.admin_token}"}, timeout=60)
        self._experiment = str(self._post("experiments/create", name=f"by-hand-{time.time_ns()}")["experiment_id"])

    def close(self) -> None:
        self._client.close()

    def run(self, files: Mapping[str, bytes]) -> Run:
        """A new run with these files logged as its ``model``."""
        info = self._post("runs/create", experiment_id=self._experiment, start_time=1)["run"]["info"]
        run = Run(id=info["run_id"], root=info["artifact_uri"].partition(":")[2].strip("/"))
        for name, content in files.items():
            put = self.put(run, f"model/{name}", content)
            assert put.status_code == 200, put.text
        return run

    def put(self, run: Run, raw_path: str, content: bytes) -> httpx.Response:
        """Upload to a path that goes onto the wire as it is written."""
        target = httpx.URL(self._url).copy_with(raw_path=f"{_ARTIFACTS}/{run.root}/{raw_path}".encode())
        return self._client.put(target, content=content)

    def get(self, place: str, **query: str) -> httpx.Response:
        """Any GET below ``/mlflow``."""
        return self._client.get(f"{self._url}/mlflow/{place}", params=query)

    def folder(self, run: Run) -> Path:
        """Where the server keeps a run's model."""
        return self._home / "mlflow" / "artifacts" / run.root / "model"

    def files_of(self, model: str, version: str) -> dict[str, bytes]:
        """The files of a registered version, read from the server's disk."""
        known = self.get("api/2.0/mlflow/model-versions/get", name=model, version=version).json()["model_version"]
        id = known["source"].rpartition("/")[2]
        folder = next((self._home / "mlflow" / "artifacts").glob(f"*/models/{id}/artifacts"))
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self._client.post(f"{self._url}{_API}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()
