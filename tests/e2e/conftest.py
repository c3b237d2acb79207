"""One whole platform for all of this folder's tests."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, start


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[..., int]) -> Generator[Platform]:
    """`lockgate up`, ready with MLflow's server; stopped at the end, which must be clean."""
    folder: Path = tmp_path_factory.mktemp("platform")
    running = start(folder / "home", free_port(3), folder / "up.log")
    yield running
    assert running.stop() == 0
