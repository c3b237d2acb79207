"""Tests that a model's author wrote, run by the server's gate in a cage and by pytest on a laptop."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import GateSpec
from lockgate.domain.gates.records import GateResult
from tests.policies import policy_for
from tests.unit.adapters.packages.conftest import CONFIG, Packer, Records

pytestmark = pytest.mark.process

GOOD = """
    import numpy as np

    def test_answers_are_probabilities(candidate, holdout):
        found = candidate.predict_proba(holdout)
        assert found.shape == (len(holdout), 2)
        assert np.allclose(found.sum(axis=1), 1)

    def test_it_is_better_than_a_coin(candidate, holdout):
        assert (candidate.predict(holdout) == holdout["diagnosis"]).mean() > 0.8

    def test_what_training_held_is_known(baseline):
        assert baseline["age"]["low"] > 0
"""
BAD = """
    def test_nobody_is_ill(candidate, holdout):
        assert candidate.predict(holdout).max() == 0, "somebody is ill"

    def test_the_champion_is_asked_too(champion, holdout):
        champion.predict(holdout)
"""
Judge = Callable[..., GateResult]


@pytest.fixture
def judge(boosted: Path, pack: Packer, records: Records, blobs: DirectoryBlobs, tmp_path: Path) -> Judge:
    """``judge(text, champion=…, seconds=…)``: what the gate says of a package with one file of tests."""

    def judged(text: str, *, live: bool = False, **params: Any) -> GateResult:
        folder = Path(shutil.copytree(boosted, tmp_path / f"model-{len(list(tmp_path.iterdir()))}"))
        place = folder / "code" / "checks"
        place.mkdir(parents=True)
        text = text.replace('"diagnosis"', repr(CONFIG.data.label))
        (place / "test_model.py").write_text(textwrap.dedent(text))
        policy = replace(policy_for(CONFIG, "test"), gates=(GateSpec(kind="custom", params=params),))
        champion = pack(boosted) if live else None
        [found] = evaluate(policy, pack(folder), champion, data=records.files, blobs=blobs)
        json.dumps(found.figures, allow_nan=False)
        return found

    return judged


def test_every_test_is_a_finding_and_all_that_pass_pass(judge: Judge) -> None:
    found = judge(GOOD)
    assert found.verdict is Verdict.PASS, found.sentence
    assert found.sentence == "all 3 tests under code/checks pass"
    assert [check["test"].partition("::")[2] for check in found.figures["checks"]] == [
        "test_answers_are_probabilities",
        "test_it_is_better_than_a_coin",
        "test_what_training_held_is_known",
    ]


def test_one_that_fails_says_why_and_one_without_a_champion_is_unknown(judge: Judge) -> None:
    found = judge(BAD)
    assert found.verdict is Verdict.FAIL
    assert "test_nobody_is_ill fails: AssertionError: somebody is ill" in found.sentence
    assert "test_the_champion_is_asked_too was skipped" in found.sentence
    assert "nothing is live yet" in found.sentence
    verdicts = {check["test"].partition("::")[2]: check["verdict"] for check in found.figures["checks"]}
    assert verdicts == {"test_nobody_is_ill": "fail", "test_the_champion_is_asked_too": "unknown"}
    assert "champion" not in judge(BAD, live=True).sentence


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def test_hangs():\n    import time\n    time.sleep(600)", "took longer than 6 s"),
        ("import nothing_like_this\ndef test_it():\n    pass", "cannot be read"),
        ("import os\ndef test_ends():\n    os._exit(7)", "ended by code 7"),
        ("import ctypes\ndef test_dies():\n    ctypes.string_at(0)", "ended by SIGSEGV"),
        ("def helper():\n    pass", "no test was found"),
        ("def test_takes_it_all():\n    bytearray(20 << 30)", "MemoryError"),
        ("def test_asks_wrongly(candidate, holdout):\n    candidate.predict(holdout[['age']])", "has no column"),
        (
            "import socket\ndef test_calls_home():\n    socket.create_connection(('127.0.0.1', 9), 1)",
            "Network is unreachable",
        ),
    ],
)
def test_whatever_goes_wrong_is_no_pass_and_the_gate_goes_on(judge: Judge, text: str, told: str) -> None:
    began = time.monotonic()
    found = judge(text, seconds=6)
    assert found.verdict in (Verdict.FAIL, Verdict.UNKNOWN)
    assert told in found.sentence
    assert time.monotonic() - began < 30


def test_a_gigabyte_of_print_and_children_left_behind_are_gone_afterwards(judge: Judge, tmp_path: Path) -> None:
    found = judge(
        """
        import os, time

        def test_prints_and_forks():
            line = "x" * (1 << 20)
            for _ in range(1024):
                print(line)
            for _ in range(5):
                if os.fork() == 0:
                    os.setsid()
                    os.execvp("sleep", ["sleep", "4242"])
        """,
        seconds=30,
    )
    assert found.verdict is Verdict.PASS, found.sentence
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 4242" not in listed


def test_a_package_without_tests_is_unknown(
    boosted: Path, pack: Packer, records: Records, blobs: DirectoryBlobs
) -> None:
    policy = replace(policy_for(CONFIG, "test"), gates=(GateSpec(kind="custom", params={}),))
    [found] = evaluate(policy, pack(boosted), None, data=records.files, blobs=blobs)
    assert found.verdict is Verdict.UNKNOWN
    assert "code_paths=['checks']" in found.hint


def test_the_same_files_run_on_a_laptop_by_pytest(boosted: Path, records: Records, tmp_path: Path) -> None:
    file = tmp_path / "test_model.py"
    file.write_text(textwrap.dedent(GOOD.replace('"diagnosis"', repr(CONFIG.data.label))))
    options = ["--lockgate", "--lockgate-model", str(boosted), "--lockgate-holdout", str(records.files["holdout"])]
    options += ["--lockgate-label", CONFIG.data.label, "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    run = [sys.executable, "-m", "pytest", *options, str(file)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    bare = subprocess.run(
        [sys.executable, "-m", "pytest", "--lockgate", "-q", "--rootdir", str(tmp_path), str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert bare.returncode == 4
    assert "--lockgate-model" in bare.stderr
