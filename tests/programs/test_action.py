"""The action for GitHub: its steps do what they say when a shell runs them, and a workflow can use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.small_api import SmallApi, a_job, a_promotion, a_report, a_version, page, small_api

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = YAML(typ="safe").load(ROOT / "action" / "action.yml")
WORKFLOW = """
name: gates
on: pull_request
jobs:
  gates:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - uses: ./action
        with:
          url: https://lockgate.example.org
          token: ${{ secrets.LOCKGATE_TOKEN }}
          run: abc
"""


def run_gates(api: SmallApi, folder: Path) -> subprocess.CompletedProcess[str]:
    """The action's first step, as the runner would start it."""
    (folder / "lockgate.yaml").write_text("model: thyroid\nowner: endocrine\ngates:\n  - quality: {metric: roc_auc}\n")
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "LOCKGATE_URL": api.url,
        "LOCKGATE_TOKEN": "lg_secret",
        **{"CONFIG": "lockgate.yaml", "RUN": "a" * 32, "MODEL": "", "URI": "", "TO": "dev", "REPORTS": "reports"},
        "REASON": "a commit",
    }
    script: str = ACTION["runs"]["steps"][0]["run"]
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_a_refusal_ends_the_step_with_its_report_and_annotation(tmp_path: Path) -> None:
    bad = {**a_report()["results"][0], "verdict": "fail", "sentence": "roc_auc is 0.7"}
    with small_api() as api:
        api.on("POST", "/submissions", (202, {"version": a_version(state="packaging"), "job": "job_1"}))
        api.on("GET", "/models/thyroid/versions/3", (200, a_version()))
        api.on("GET", "/jobs/job_1", (200, a_job()))
        api.on("GET", "/promotions", page(a_promotion()))
        api.on("GET", "/promotions/promo_1", (200, a_promotion(state="refused", sentence="gate quality fails")))
        api.on("GET", "/reports/rep_1", (200, a_report(results=[bad], verdict="fail")))
        done = run_gates(api, tmp_path)
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "output").read_text() == "verdict=refused\n"
    assert "0 of 1 gates pass" in (tmp_path / "summary").read_text()
    assert "::error file=lockgate.yaml,line=4" in done.stderr
    assert {file.name for file in (tmp_path / "reports").iterdir()} == {
        *("report.md", "report.html", "report.xml", "report.sarif"),
    }


def test_a_workflow_that_uses_the_action_is_sound(tmp_path: Path) -> None:
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    shutil.copytree(ROOT / "action", tmp_path / "action")
    (workflows / "gates.yml").write_text(WORKFLOW)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    linter = Path(sys.executable).with_name("actionlint")
    done = subprocess.run([linter], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    (workflows / "gates.yml").write_text(WORKFLOW.replace("token:", "tokn:"))
    wrong = subprocess.run([linter], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "tokn" in wrong.stdout
