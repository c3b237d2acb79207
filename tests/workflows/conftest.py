"""What workflow tests can ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflows.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A small platform with ada, a developer, and grace, an approver."""
    return World(tmp_path)
