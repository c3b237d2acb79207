"""`lockgate demo` tells its whole story, on a platform of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.demo.stage import MODEL
from lockgate.demo.story import CHAPTERS
from lockgate.demo.traffic import ANSWERS
from lockgate.supervisor.home import Home
from lockgate.supervisor.lock import who_runs

pytestmark = pytest.mark.process


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="lg-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.timeout(300)
def test_the_demo_tells_its_story_to_the_end_and_loses_no_request(home: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "lockgate.cli.main", "demo", "--home", str(home)],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
    )

    logs = {log.name: log.read_text(errors="replace")[-2000:] for log in (home / "logs").glob("*.log")}
    if told.returncode != 0:
        # Whole, and not as the shortened repr of an assertion: what went wrong stands in its last lines.
        pytest.fail("\n".join([told.stdout, told.stderr, *(f"== {name}\n{text}" for name, text in logs.items())]))
    places = [told.stdout.index(chapter) for chapter in CHAPTERS]
    assert places == sorted(places)
    counted = re.search(r"requests +([\d,]+) sent, ([\d,]+) answered, 0 lost", told.stdout)
    assert counted is not None
    assert counted[1] == counted[2]
    assert "refused: regression roc_auc" in told.stdout
    assert re.search(r"caught in its canary at \d+%, and aborted: invalid outputs", told.stdout)
    assert f"rolled back from {MODEL}:4 to {MODEL}:1: roc_auc" in told.stdout
    assert "the audit trail verifies" in told.stdout
    assert who_runs(Home(root=home).lock) is None

    answers = [json.loads(line) for line in (home / MODEL / ANSWERS).read_text().splitlines()]
    ids = [answer[0] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert answers[-1][1] == "1", "the champion answers at the end"


def test_a_story_that_breaks_off_says_why_and_fails(home: Path) -> None:
    (home / "blobs").write_text("in the way")
    told = subprocess.run(
        [sys.executable, "-m", "lockgate.cli.main", "demo", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert told.returncode == 1
    assert "The story broke off: the platform ended" in told.stdout
    assert "cannot use" in told.stdout
    assert f"hint: the logs are in {home / 'logs'}" in told.stdout


def test_the_demo_touches_no_home_that_is_in_use(home: Path) -> None:
    (home / "lockgate.db").touch()
    told = subprocess.run(
        [sys.executable, "-m", "lockgate.cli.main", "demo", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 1
    assert "holds a platform already" in told.stderr
    assert [file.name for file in home.iterdir()] == ["lockgate.db"]
