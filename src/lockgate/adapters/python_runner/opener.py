"""Runs models for packaging and for gates, in the very environments that serve them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lockgate.adapters.python_runner.environments import Environments
from lockgate.adapters.python_runner.folders import ModelFolders
from lockgate.adapters.python_runner.launch import Launch
from lockgate.adapters.python_runner.requirements import wanted
from lockgate.adapters.python_runner.session import RunnerSession
from lockgate.domain.registry.manifest import Column, Manifest
from lockgate.ports import Blobs


class PythonRunners:
    """Knows how to run models, in a platform's home."""

    def __init__(self, home: Path, blobs: Blobs, tell: Callable[[str], None]) -> None:
        """``tell`` is told what is being waited for."""
        self._environments = Environments(home / "environments")
        self._folders = ModelFolders(home / "runners" / "models", blobs)
        # A job's own temporary folder, which goes with it however it ends.
        self._work = Path(tempfile.gettempdir()) / "lockgate-runners"
        self._tell = tell

    def requirements(self, lines: Sequence[str], python: str, mlflow: str) -> tuple[str, ...]:
        """What the environment will hold, by name and version; raises UnsafeArtifact for anything else."""
        return wanted(lines, python=python, mlflow=mlflow).requirements

    def open(
        self, folder: Path, columns: tuple[Column, ...], requirements: tuple[str, ...], python: str, memory_bytes: int
    ) -> RunnerSession:
        """The model of a folder, opened; its environment is built when it is not there.

        Raises:
            NotServable: there can be no such environment, or the model cannot be opened in it.
            Unavailable: the environment cannot be built just now.
        """
        interpreter = self._environments.ensure(wanted(requirements, python=python), self._tell)
        self._tell("opening the model in its environment")
        launch = Launch(
            interpreter=interpreter, folder=folder, work=self._work, columns=columns, memory_bytes=memory_bytes
        )
        return RunnerSession(launch)

    def open_package(self, manifest: Manifest) -> RunnerSession:
        """The model of a package; raises as `open`, and NotFound or CorruptArtifact for its files."""
        return self.open(
            self._folders.of(manifest),
            manifest.signature.inputs,
            manifest.requirements,
            manifest.python,
            manifest.serving.runner.memory_bytes,
        )
