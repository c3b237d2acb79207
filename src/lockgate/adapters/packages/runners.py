"""What packaging and gates need of the python lane: somebody who runs a model in its own environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pandas import DataFrame

from lockgate.domain.registry.manifest import Column, Manifest


class Session(Protocol):
    """Knows how to ask one model that runs elsewhere."""

    @property
    def model(self) -> dict[str, Any]:
        """What it says of itself: task ("" where its answers have to tell), classes, names, takes_array."""
        ...

    def rows(self, frame: DataFrame) -> dict[str, Any]:
        """Rows in the form that `answer` takes."""
        ...

    def answer(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Named arrays: ``scores`` and ``picked``, or ``other:`` and the name of each output; raises Invalid when it
        refuses the rows, NotServable when its process ends."""
        ...

    def memory(self) -> int:
        """Bytes that its process holds; 0 when it has ended."""
        ...

    def close(self) -> None:
        """End its process."""
        ...


class Runners(Protocol):
    """Knows how to run models in environments of their own, the very ones that serve them."""

    def requirements(self, lines: Sequence[str], python: str, mlflow: str) -> tuple[str, ...]:
        """What the environment will hold, by name and version; raises UnsafeArtifact for anything else."""
        ...

    def open(
        self, folder: Path, columns: tuple[Column, ...], requirements: tuple[str, ...], python: str, memory_bytes: int
    ) -> Session:
        """The model of a folder, opened; its environment is built when it is not there. Raises NotServable,
        Unavailable."""
        ...

    def open_package(self, manifest: Manifest) -> Session:
        """The model of a package; raises as `open`, and NotFound or CorruptArtifact for its files."""
        ...
