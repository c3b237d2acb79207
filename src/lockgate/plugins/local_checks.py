"""The laptop's side: a model folder is packaged into a temporary place, as the server would, and asked right here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.build import build
from lockgate.adapters.packages.checks.answering import answer, facts_of
from lockgate.adapters.packages.graphs import load_graph
from lockgate.adapters.packages.tables import read_table
from lockgate.base.errors import LockgateError
from lockgate.domain.gates.config import DataConfig, ModelConfig


class Local:
    """Everything comes from files that the command line names."""

    def __init__(
        self, *, model: Path, champion: Path | None, holdout: Path | None, requests: Path | None, label: str
    ) -> None:
        self._champion, self._holdout, self._requests, self._label = champion, holdout, requests, label
        self._candidate = self._opened(model)

    def candidate(self) -> LocalModel:
        return self._candidate

    def champion(self) -> LocalModel | None:
        return None if self._champion is None else self._opened(self._champion)

    def holdout(self) -> pd.DataFrame | None:
        return None if self._holdout is None else read_table(self._holdout, "holdout").frame

    def requests(self) -> pd.DataFrame | None:
        return None if self._requests is None else read_table(self._requests, "requests").frame

    def _opened(self, folder: Path) -> LocalModel:
        config = ModelConfig(model="local", owner="local", data=DataConfig(label=self._label))
        data = {} if self._holdout is None else {"holdout": self._holdout}
        try:
            with tempfile.TemporaryDirectory(prefix="lockgate-checks-") as place:
                blobs = DirectoryBlobs(Path(place))
                manifest = build(folder, data=data, config=config, facts={}, blobs=blobs)
                return LocalModel(manifest, load_graph(manifest, blobs), (self._label,))
        except (LockgateError, OSError) as error:
            raise pytest.UsageError(f"{folder} cannot be opened as a model: {error}") from error


class LocalModel:
    """A model in this process."""

    def __init__(self, manifest: Any, runner: Any, beside: tuple[str, ...]) -> None:
        self._manifest, self._runner, self._beside = manifest, runner, beside
        self.facts = facts_of(manifest)

    def predict(self, rows: pd.DataFrame) -> Any:
        return self._answer(rows)["prediction"].to_numpy(zero_copy_only=False)

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        found = self._answer(rows)
        return np.column_stack([found[f"p:{at}"].to_numpy() for at in range(len(self.facts["classes"]))])

    def _answer(self, rows: pd.DataFrame) -> Any:
        return answer(self._manifest, self._runner, rows, beside=self._beside)
