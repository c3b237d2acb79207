from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lockgate.cli.console import clean
from lockgate.cli.failing import EXIT_CODES
from lockgate.cli.main import app
from tests.small_api import (
    SmallApi,
    a_job,
    a_leader,
    a_promotion,
    a_queue,
    a_report,
    a_rollout,
    a_schedule,
    a_table,
    a_version,
    page,
    problem,
    small_api,
)


@dataclass
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def api() -> Iterator[SmallApi]:
    with small_api() as made:
        yield made


@pytest.fixture
def run(api: SmallApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands in this process, for a person signed in to the small API."""
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "LOCKGATE_URL": api.url, "LOCKGATE_TOKEN": "lg_secret"}

    def start(*arguments: str, typed: str = "", **more: str) -> Said:
        done = CliRunner().invoke(app, arguments, input=typed, env={**env, **more})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    return start


@pytest.fixture
def program(api: SmallApi, tmp_path: Path) -> Run:
    """Runs the program itself."""
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LOCKGATE_URL": api.url, "LOCKGATE_TOKEN": "lg_secret"}

    def start(*arguments: str) -> Said:
        command = (sys.executable, "-m", "lockgate.cli.main", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=30, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    return start


def test_help_is_there_at_once_and_tells_the_exit_codes(program: Run):
    began = os.times()
    said = program("--help")
    spent = os.times()
    assert said.code == 0
    flat = " ".join(said.out.split())
    assert all(f"{code} " in flat for code in EXIT_CODES)
    assert "rollback" in said.out
    # Of the processor, not of the clock: the machine that runs the tests may be busy.
    used = spent.children_user + spent.children_system - began.children_user - began.children_system
    assert used < 0.9


def test_a_refusal_is_told_on_standard_error_with_its_problems_and_a_hint(program: Run, api: SmallApi):
    api.on("GET", "/models", problem(403, "forbidden", "ada may not view", hint="ask an admin", problems=("a", "b")))
    said = program("models")
    assert said == Said(3, "", "error: ada may not view\n  - a\n  - b\n\nhint: ask an admin\n")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(409, "gate_refused", 1), (422, "invalid", 2), (401, "unauthenticated", 3), (503, "overloaded", 4)],
)
def test_exit_codes_tell_refusals_apart(run: Run, api: SmallApi, status: int, code: str, expected: int):
    api.on("POST", "/rollouts/roll_1/abort", problem(status, code, "no"))
    assert run("abort", "roll_1", "--reason", "x").code == expected


def test_nothing_there_is_told_on_standard_error_and_is_no_failure(run: Run, api: SmallApi):
    api.on("GET", "/alerts", page())
    assert run("alerts") == Said(0, "", "no alerts\n")


READING = [
    (("whoami",), "/me", (200, {"principal": "ada", "roles": ["admin"], "environments": [], "actions": ["view"]})),
    (
        ("models",),
        "/models",
        page({"id": "thyroid", "owner": "x", "risk": "high", "created_at": "2026-05-01T12:00:00Z"}),
    ),
    (("versions", "thyroid"), "/models/thyroid/versions", page(a_version())),
    (("report", "rep_1"), "/reports/rep_1", (200, a_report())),
    (("report", "thyroid:3"), "/models/thyroid/versions/3/reports", page(a_report())),
    (("jobs",), "/jobs", page(a_job())),
    (("queues",), "/jobs/queues", (200, [a_queue()])),
    (("leaders",), "/leaders", (200, [a_leader()])),
    (("schedules", "list"), "/schedules", page(a_schedule())),
    (("schedules", "show", "prune"), "/schedules/prune", (200, a_schedule())),
    (("job", "show", "job_1"), "/jobs/job_1", (200, a_job(log="what it printed\nline two\n"))),
    (("promotions",), "/promotions", page(a_promotion())),
    (("rollouts",), "/rollouts", page(a_rollout())),
    (("rollout", "roll_1"), "/rollouts/roll_1", (200, a_rollout(judgements=[{"verdict": "pass", "sentence": "fine"}]))),
    (
        ("endpoints",),
        "/endpoints",
        page(
            {
                "id": "thyroid.prod",
                "stable": "thyroid:2",
                "previous": None,
                "candidate": "thyroid:3",
                "updated_at": "2026-05-01T12:00:00Z",
            }
        ),
    ),
    (
        ("alerts",),
        "/alerts",
        page(
            {
                "id": "al_1",
                "endpoint": "thyroid.prod",
                "version": "thyroid:3",
                "kind": "drift",
                "state": "open",
                "last_at": "2026-05-01T12:00:00Z",
                "sentence": "age has shifted",
            }
        ),
    ),
    (
        ("incidents",),
        "/incidents",
        page(
            {
                "id": "in_1",
                "endpoint": "thyroid.prod",
                "state": "open",
                "opened_at": "2026-05-01T12:00:00Z",
                "title": "drift",
            }
        ),
    ),
    (
        ("diff", "thyroid:1", "thyroid:2"),
        "/diff",
        (
            200,
            {
                "before": "thyroid:1",
                "after": "thyroid:2",
                "differences": [{"part": "data", "name": "holdout", "before": "sha256:a", "after": None}],
            },
        ),
    ),
    (
        ("people", "list"),
        "/people",
        page(
            {
                "name": "ada",
                "person": True,
                "roles": ["admin"],
                "groups": ["safety-board"],
                "disabled": False,
                "created_at": "2026-05-01T12:00:00Z",
            }
        ),
    ),
    (
        ("tokens", "list"),
        "/tokens",
        page(
            {
                "id": "tok_1",
                "hint": "lg_ab",
                "principal": "ada",
                "roles": ["admin"],
                "environments": [],
                "revoked_at": None,
                "expires_at": "2026-06-01T12:00:00Z",
                "purpose": "laptop",
            }
        ),
    ),
    (
        ("audit", "entries"),
        "/audit/entries",
        page(
            {
                "seq": 9,
                "at": "2026-05-01T12:00:00Z",
                "actor": "ada",
                "action": "version.submitted",
                "subject": "version/thyroid:3",
                "reason": "better",
            }
        ),
    ),
    (
        ("audit", "verify"),
        "/audit/verify",
        (200, {"proved": True, "entries": 9, "head": "sha256:ab", "sentence": "all 9 entries follow"}),
    ),
    (
        ("audit", "served", "thyroid.prod", "--at", "2026-05-01T12:00:00Z"),
        "/audit/served",
        (
            200,
            {
                "endpoint": "thyroid.prod",
                "at": "2026-05-01T12:00:00Z",
                "generation": 8,
                "published_at": "2026-05-01T11:00:00Z",
                "reason": "released",
                "route": a_table()["endpoints"][0],
            },
        ),
    ),
]


@pytest.mark.parametrize(("arguments", "path", "told"), READING, ids=[" ".join(each[0]) for each in READING])
def test_every_reading_command_speaks_to_people_and_as_json_to_programs(
    run: Run, api: SmallApi, arguments: tuple[str, ...], path: str, told: tuple[int, Any]
):
    api.on("GET", path, told)
    plain, as_json = run(*arguments), run(*arguments, "--json")
    assert (plain.code, as_json.code) == (0, 0)
    assert plain.out.strip()
    assert "\x1b" not in plain.out, "colour where nobody can see it"
    body = told[1].get("items", told[1]) if isinstance(told[1], dict) else told[1]
    parsed = json.loads(as_json.out)
    assert parsed in (body, body[0] if isinstance(body, list) else body)


def test_a_table_in_a_pipe_keeps_each_row_on_one_line(run: Run, api: SmallApi):
    api.on("GET", "/jobs", page(a_job(error="x" * 500), a_job(id="job_2")))
    assert len(run("jobs").out.splitlines()) == 3


def test_what_others_wrote_cannot_steer_the_terminal():
    assert clean("\x1b]0;owned\x07ok\r\n") == " ]0;owned ok  "


def test_a_broken_ledger_fails(run: Run, api: SmallApi):
    broken = {"proved": False, "entries": 0, "head": "", "sentence": "entry 7 was changed after it was written"}
    api.on("GET", "/audit/verify", (200, broken))
    said = run("audit", "verify")
    assert said.code == 1
    assert "entry 7 was changed" in said.err


def test_promoting_tells_each_step_and_how_to_go_on(run: Run, api: SmallApi):
    gating = a_promotion(state="gating", sentence="judging", report=None)
    api.on("POST", "/promotions", (202, {"promotion": gating, "job": "job_2"}))
    api.on("GET", "/models/thyroid/versions/3", (200, a_version()))
    api.on("GET", "/promotions/promo_1", (200, gating), (200, a_promotion()))
    said = run("promote", "thyroid:3", "prod", "--reason", "better")
    assert said.code == 0
    assert "state       awaiting_approval" in said.out
    assert "· judging\n· every gate passes" in said.err
    assert "lockgate approve promo_1" in said.err


def test_approving_shows_the_report_that_is_signed(run: Run, api: SmallApi):
    api.on("GET", "/promotions/promo_1", (200, a_promotion()))
    api.on("GET", "/reports/rep_1", (200, a_report()))
    approval = {"by": "bo", "reason": "read it"}
    api.on("POST", "/promotions/promo_1/approve", (200, a_promotion(approvals=[approval], state="awaiting_approval")))
    said = run("approve", "promo_1", "--reason", "read it")
    assert "roc_auc is 0.93, at least 0.90 was asked" in said.out
    assert "bo (read it)" in said.out


def test_rolling_back_shows_who_answers_now(run: Run, api: SmallApi):
    api.on("POST", "/endpoints/thyroid.prod/rollback", (200, a_table()))
    api.on("GET", "/gateway/workers", (200, [{"generation": a_table()["generation"]}]))
    said = run("rollback", "thyroid.prod", "--reason", "too many errors")
    assert "thyroid:2  live  100%" in said.out


def test_predicting_and_labelling_from_files(run: Run, api: SmallApi, tmp_path: Path):
    output = {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["sick", "well"]}
    body = {"model_version": "3", "parameters": {"prediction_id": "01ab", "generation": 7}, "outputs": [output]}
    inputs = [{"name": "age", "datatype": "FP64", "shape": [-1]}]
    api.on("GET", "/v2/models/thyroid.prod", (200, {"inputs": inputs}))
    api.on("POST", "/v2/models/thyroid.prod/infer", (200, body))
    gateway = (api.url.rpartition(":")[0], int(api.url.rpartition(":")[2]))
    token = tmp_path / ".config" / "lockgate" / "login.json"
    token.parent.mkdir(parents=True)
    token.write_text(json.dumps({"url": api.url, "gateway": f"{gateway[0]}:{gateway[1]}", "token": "lg_secret"}))
    (tmp_path / "rows.csv").write_text("age\n61\n\n40\n")
    said = run("predict", "thyroid.prod", "rows.csv")
    assert "01ab.1      well" in said.out
    assert api.sent("POST", "/v2/models/thyroid.prod/infer")[0].body["inputs"][0]["data"] == [61.0, 40.0]
    assert json.loads(run("predict", "thyroid.prod", "-", "--json", typed='{"age": [61, 40]}').out)["version"] == "3"
    api.on("POST", "/endpoints/thyroid.prod/labels", lambda asked: (200, {"changed": len(asked.body["labels"])}))
    (tmp_path / "labels.csv").write_text("prediction_id,value\n01ab.0,sick\n")
    said = run("label", "thyroid.prod", "01ab.1=well", "--file", "labels.csv")
    assert said.err == "2 labels for thyroid.prod, 2 of them new or changed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "a.dev", "missing.json"),
        ("predict", "a.dev", "-"),
        ("label", "a.dev"),
        ("label", "a.dev", "novalue"),
        ("promote", "thyroid", "prod", "-r", "x"),
        ("audit", "served", "a.dev", "--at", "yesterday"),
        ("submit", "--run", "r"),
        ("submit",),
        ("promote", "thyroid:3", "prod"),
        ("frobnicate",),
    ],
)
def test_what_is_used_wrongly_is_told_before_anything_is_sent(run: Run, api: SmallApi, arguments: tuple[str, ...]):
    said = run(*arguments, typed="{ no json")
    assert said.code == 2
    assert said.err
    assert api.asked == []


def test_signing_in_tries_the_token_and_keeps_it_for_its_owner_alone(run: Run, api: SmallApi, tmp_path: Path):
    api.on("GET", "/me", (200, {"principal": "ada", "roles": ["developer"], "environments": [], "actions": []}))
    said = run("login", api.url, typed="lg_typed\n", LOCKGATE_URL="", LOCKGATE_TOKEN="")
    assert "as ada (developer)" in said.err
    kept = tmp_path / ".config" / "lockgate" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert api.asked[-1].headers["authorization"] == "Bearer lg_typed"
    assert run("whoami", LOCKGATE_URL="", LOCKGATE_TOKEN="").code == 0
    assert run("logout").code == 0
    assert run("whoami", LOCKGATE_URL="", LOCKGATE_TOKEN="").code == 4


def test_a_token_that_is_not_taken_is_not_kept(run: Run, api: SmallApi, tmp_path: Path):
    api.on("GET", "/me", problem(401, "unauthenticated", "this token is not known"))
    assert run("login", api.url, "--token", "lg_bad").code == 3
    assert not (tmp_path / ".config").exists()


def test_a_new_token_is_all_there_is_on_standard_output(run: Run, api: SmallApi):
    token = {"id": "tok_1", "token": "lg_new", "expires_at": "2026-08-01T12:00:00Z"}
    api.on("POST", "/tokens", (201, token))
    assert run("tokens", "issue", "ada", "--purpose", "ci").out == "lg_new\n"


def test_the_starter_file_follows_the_published_schema(run: Run, tmp_path: Path):
    assert run("init", "--model", "thyroid").code == 0
    document = YAML(typ="safe", pure=True).load(tmp_path / "lockgate.yaml")
    schema = json.loads(files("lockgate.templates").joinpath("lockgate.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document["model"] == "thyroid"
    again = run("init")
    assert again.code == 1
    assert "is there already" in again.err


def test_what_runs_here_is_told_even_when_nothing_does(run: Run, tmp_path: Path):
    said = run("status", "--home", "h")
    assert (said.code, said.out) == (1, "")
    assert f"does not run in {tmp_path / 'h'}" in said.err
    assert json.loads(run("status", "--home", "h", "--json").out)["running"] is None
    assert run("down", "--home", "h").code == 1


@pytest.mark.parametrize(
    ("option", "value"), [("--port", "70000"), ("--workers", "1000"), ("--host", "no.such.host.invalid")]
)
def test_a_platform_that_cannot_be_is_refused_before_it_is_begun(run: Run, option: str, value: str):
    said = run("up", "--home", "h", option, value)
    assert said.code == 2
    assert "hint:" in said.err


def test_a_fault_of_ours_is_told_without_a_traceback_unless_it_is_wanted(program: Run, api: SmallApi):
    api.on("GET", "/models", (200, {"items": [{"id": "no more than that"}]}))
    said = program("models")
    assert said.code == 1
    assert "error: something went wrong inside lockgate: KeyError" in said.err
    assert "Traceback" not in said.err
    assert "Traceback" in program("--traceback", "models").err


def test_a_file_where_the_home_should_be_is_told(run: Run, tmp_path: Path):
    (tmp_path / "h").write_text("")
    said = run("up", "--home", "h")
    assert said.code == 2
    assert "cannot use" in said.err


def test_a_pipeline_gets_its_files_and_annotations_also_when_a_gate_refuses(
    run: Run, api: SmallApi, tmp_path: Path
) -> None:
    gating = a_promotion(state="gating", sentence="judging", report=None)
    refused = a_promotion(state="refused", sentence="gate quality fails")
    bad = {**a_report()["results"][0], "verdict": "fail", "sentence": "roc_auc is 0.7", "hint": "train a better one"}
    api.on("POST", "/promotions", (202, {"promotion": gating, "job": "job_2"}))
    api.on("GET", "/models/thyroid/versions/3", (200, a_version()))
    api.on("GET", "/promotions/promo_1", (200, gating), (200, refused))
    api.on("GET", "/reports/rep_1", (200, a_report(results=[bad], verdict="fail")))
    (tmp_path / "lockgate.yaml").write_text("model: thyroid\ngates:\n  - quality: {metric: roc_auc}\n")
    files = ("--junit", "out/r.xml", "--sarif", "out/r.sarif", "--markdown", "out/r.md", "--html", "out/r.html")
    said = run("promote", "thyroid:3", "prod", "--reason", "better", *files, GITHUB_ACTIONS="true")
    assert said.code == 1
    assert (
        "::error file=lockgate.yaml,line=3,title=gate quality roc_auc%3A fail::roc_auc is 0.7. Next: train" in said.err
    )
    out = tmp_path / "out"
    assert "0 of 1 gates pass" in (out / "r.md").read_text()
    assert 'failures="1"' in (out / "r.xml").read_text()
    assert json.loads((out / "r.sarif").read_text())["version"] == "2.1.0"
    assert (out / "r.html").read_text().startswith("<!doctype html>")


def test_a_report_is_printed_in_the_form_that_is_asked_for(run: Run, api: SmallApi) -> None:
    api.on("GET", "/reports/rep_1", (200, a_report()))
    api.on("GET", "/reports/rep_1/rendered", lambda asked: (200, {"form": asked.query["format"]}))
    assert '"markdown"' in run("report", "rep_1", "--format", "markdown").out
    assert json.loads(run("report", "rep_1", "--format", "json").out)["id"] == "rep_1"
    assert run("report", "rep_1", "--format", "word").code == 2


def test_a_schedule_is_asked_for_with_what_its_job_takes(run: Run, api: SmallApi):
    api.on("POST", "/schedules", (201, a_schedule()))
    done = run(
        "schedules", "add", "prune", "prune", "@daily", "-r", "tidy", "--zone", "Europe/Berlin", "--catch-up", "skip",
        "--set", "keep_days=3", "--set", "endpoint=thyroid.prod", "--set", 'data={"holdout": "x"}',
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(api.asked[-1].raw) == {
        **{"name": "prune", "kind": "prune", "cron": "@daily", "zone": "Europe/Berlin", "catch_up": "skip"},
        **{"payload": {"keep_days": 3, "endpoint": "thyroid.prod", "data": {"holdout": "x"}}, "reason": "tidy"},
    }
    wrong = run("schedules", "add", "prune", "prune", "@daily", "-r", "tidy", "--set", "keep_days")
    assert wrong.code != 0
    assert "NAME=VALUE" in wrong.err


def test_dead_letters_are_tried_again_one_or_all_of_a_kind(run: Run, api: SmallApi):
    api.on("POST", "/jobs/job_1/retry", (200, a_job()))
    assert run("job", "retry", "job_1").code == 0
    api.on("POST", "/jobs/retry", (200, {"again": ["job_1"], "refused": {"job_2": "thyroid:3 is ready by now"}}))
    done = run("job", "retry", "--all", "gate")
    assert (done.code, done.out) == (0, "job_1\n")
    assert "job_2 is not tried again: thyroid:3 is ready by now" in done.err
    for words in ((), ("job_1", "--all", "gate")):
        refused = run("job", "retry", *words)
        assert refused.code != 0
        assert "--all KIND" in refused.err


def test_a_second_control_plane_on_sqlite_is_refused_with_the_way_out(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCKGATE_DATABASE_URL", raising=False)
    refused = run("control")
    assert refused.code != 0
    assert "PostgreSQL" in refused.err
    assert "LOCKGATE_DATABASE_URL" in refused.err
