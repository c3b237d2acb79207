"""Whatever is wrong with what comes in: a clear refusal with a code and a hint, and nothing half done."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.base.errors import Invalid, LockgateError, NotFound, NotServable
from lockgate.sdk.rows import tensors
from lockgate.sdk.submitting import source_of, submit_model
from tests.e2e import biopsy
from tests.e2e.platform import Platform
from tests.e2e.tracking import Tracking

NAME = "swab"
API = "/api/v1"
NOWHERE = "sha256:" + "0" * 64
#: What people make: none of it may change when something is refused.
RECORDS = (
    "people",
    "tokens",
    "models",
    f"models/{NAME}/versions",
    "jobs",
    "promotions",
    "releases",
    "rollouts",
    "routes",
)
BROKEN = """\
model: Swab Test
owner: 3
risk: extreme
data:
  holdout: 7
gates:
  - qualty: {metric: roc_auc}
  - quality: {metric: roc_auc, at_least: 7}
environments:
  moon: {approvals: -1}
watch: 5
"""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, kw_only=True)
class Live:
    """A model live in dev, and what it was made of."""

    platform: Platform
    tracking: Tracking
    config: Path
    #: Role -> digest.
    data: dict[str, str]
    #: The files of the good model.
    files: dict[str, bytes]
    #: A good inference request.
    good: dict[str, Any]
    api: httpx.Client
    gateway: httpx.Client

    def submission(self, **changed: Any) -> dict[str, Any]:
        text = self.config.read_text(encoding="utf-8")
        source = {"registered_model": NAME, "version": "1"}
        return {"source": source, "config": text, "data": self.data, "to": None, **changed}


@pytest.fixture(scope="module")
def live(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Generator[Live]:
    folder = tmp_path_factory.mktemp(NAME)
    config = biopsy.prepare(folder, NAME)
    version = platform.mlflow(platform.admin_token, "log", NAME, "1.0")["version"]
    headers = {"authorization": f"Bearer {platform.admin_token}"}
    with (
        closing(Tracking(platform)) as tracking,
        platform.client() as client,
        httpx.Client(base_url=platform.url + API, headers=headers, timeout=60) as api,
        httpx.Client(base_url=platform.gateway, headers=headers, timeout=60) as gateway,
    ):
        submit_model(client, config, source_of(model=f"{NAME}/{version}"), tell=lambda text: None)
        _wait(lambda: gateway.get(f"/v2/models/{NAME}.dev").status_code == 200)
        inputs = gateway.get(f"/v2/models/{NAME}.dev").json()["inputs"]
        yield Live(
            platform=platform,
            tracking=tracking,
            config=config,
            data={role: client.upload(folder / f"{role}.parquet") for role in ("holdout", "training")},
            files=tracking.files_of(NAME, version),
            good={"inputs": tensors(biopsy.tables()[1].drop(columns="malignant").head(2), inputs)},
            api=api,
            gateway=gateway,
        )


@contextmanager
def nothing_done(live: Live) -> Generator[None]:
    """What people can change is afterwards as it was, and so is the ledger but for what the platform did itself."""
    before = _standing(live)
    yield
    assert _standing(live) == before


def _standing(live: Live) -> dict[str, Any]:
    found = {path: live.api.get(f"/{path}", params={"limit": 200}).json()["items"] for path in RECORDS}
    entries = live.api.get("/audit/entries", params={"limit": 200}).json()["items"]
    return {**found, "ledger": [entry["hash"] for entry in entries if entry["actor"] != "lockgate"]}


def _wait(what: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "it did not become true in time"
        time.sleep(0.1)


# --- predictions


def changed(**field: Any) -> Callable[[dict[str, Any]], bytes]:
    """The good request with its first input changed."""

    def change(good: dict[str, Any]) -> bytes:
        body = copy.deepcopy(good)
        body["inputs"][0].update(field)
        return json.dumps(body).encode()

    return change


def exactly(content: bytes) -> Callable[[dict[str, Any]], bytes]:
    """These bytes, whatever the good request is."""
    return lambda good: content


BAD_REQUESTS: dict[str, tuple[Callable[[dict[str, Any]], bytes], int, str]] = {
    "nothing": (exactly(b""), 400, "not JSON"),
    "half of it": (exactly(b'{"inputs": ['), 400, "not JSON"),
    "not UTF-8": (exactly(b'{"inputs": [{"name": "\xff"}]}'), 400, "not"),
    "another thing": (exactly(b"[1]"), 400, "not an inference request"),
    "nested without end": (exactly(b'{"inputs":' + b"[" * 5000), 400, "not"),
    "no inputs": (exactly(b'{"inputs": []}'), 400, "no inputs"),
    "more than there is": (changed(shape=[3, 1]), 400, "shape"),
    "a negative shape": (changed(shape=[-2, -1]), 400, "shape"),
    "an endless shape": (changed(shape=[10**12, 1]), 400, "too large"),
    "another number of columns": (changed(shape=[1, 2]), 400, "shape"),
    "text for numbers": (changed(data=["a", "b"]), 400, "wants numbers"),
    "another type": (changed(datatype="INT64"), 400, "INT64"),
    "an unknown type": (changed(datatype="DECIMAL"), 400, "DECIMAL"),
    "an unknown column": (changed(name="mood"), 400, "mood"),
    "no value": (changed(data=[None, 1.0]), 400, "no value"),
    "not a number": (changed(data=[float("nan"), 1.0]), 400, "not JSON"),
    "infinity": (changed(data=[float("-inf"), 1.0]), 400, "not JSON"),
    "beyond all numbers": (
        lambda good: changed(data=[12345.0, 1.0])(good).replace(b"12345.0", b"1e999"),
        400,
        "out of range",
    ),
    "too much of it": (exactly(b'{"inputs":[' + b" " * (17 << 20) + b"]}"), 413, "larger than"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_request_that_is_wrong_is_refused_in_words(live: Live, name: str) -> None:
    make, status, sentence = BAD_REQUESTS[name]
    answer = live.gateway.post(f"/v2/models/{NAME}.dev/infer", content=make(live.good))
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert sentence in told["error"]
    assert told["code"] == ("too_large" if status == 413 else "invalid_input")
    assert told["hint"], told
    assert "Traceback" not in answer.text
    assert live.gateway.post(f"/v2/models/{NAME}.dev/infer", json=live.good).status_code == 200


@pytest.mark.parametrize("path", ["nobody.dev", f"{NAME}.moon", f"{NAME}.dev/versions/77", "..%2f..%2fetc.dev"])
def test_an_endpoint_nobody_published_is_not_found(live: Live, path: str) -> None:
    answer = live.gateway.post(f"/v2/models/{path}/infer", json=live.good)
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"] == "not_found"
    assert answer.json()["hint"]


# --- the API

LARGE = {"content": b'{"name":"' + b"x" * (9 << 20) + b'"}', "headers": {"content-type": "application/json"}}
PROMOTION = {"model": NAME, "version": 1, "environment": "dev", "reason": "x"}
BAD_CALLS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "half of it": ("/people", {"content": b'{"name":', "headers": LARGE["headers"]}, 422, "invalid"),
    "not UTF-8": ("/people", {"content": b'{"name":"\xff"}', "headers": LARGE["headers"]}, 400, "invalid"),
    "not JSON at all": ("/people", {"content": b"name=x"}, 422, "invalid"),
    "another thing": ("/people", {"json": [1]}, 422, "invalid"),
    "too much of it": ("/people", LARGE, 413, "too_large"),
    "an unknown field": ("/people", {"json": {"name": "x", "roles": ["viewer"], "hat": 1}}, 422, "invalid"),
    "a role there is not": ("/people", {"json": {"name": "x", "roles": ["king"]}}, 422, "invalid"),
    "a character that is none": ("/people", {"json": {"name": "a\x00b", "roles": ["viewer"]}}, 422, "invalid"),
    "not a number": (
        "/promotions",
        {"content": json.dumps({**PROMOTION, "version": float("nan")}), "headers": LARGE["headers"]},
        422,
        "invalid",
    ),
    "a model there is not": ("/promotions", {"json": {**PROMOTION, "model": "ghost"}}, 404, "not_found"),
    "a version there is not": ("/promotions", {"json": {**PROMOTION, "version": 10**30}}, 404, "not_found"),
    "an environment there is not": (
        "/promotions",
        {"json": {**PROMOTION, "environment": "moon"}},
        409,
        "not_allowed_now",
    ),
    "an environment too far": ("/promotions", {"json": {**PROMOTION, "environment": "prod"}}, 409, "not_allowed_now"),
    "no reason": ("/promotions", {"json": {**PROMOTION, "reason": ""}}, 422, "invalid"),
    "a promotion there is not": (
        "/promotions/promo_0/approve",
        {"json": {"report": "r", "reason": "x"}},
        404,
        "not_found",
    ),
    "an endpoint there is not": ("/endpoints/nobody.dev/rollback", {"json": {"reason": "x"}}, 404, "not_found"),
    "nothing to go back to": (f"/endpoints/{NAME}.dev/rollback", {"json": {"reason": "x"}}, 409, "not_allowed_now"),
    "ids that are none": (
        f"/endpoints/{NAME}.dev/labels",
        {"json": {"labels": [{"prediction_id": "../../x", "value": "1"}]}},
        422,
        "invalid",
    ),
    "an empty upload": ("/data", {"content": b""}, 422, "invalid"),
    "a route there is not": ("/nothing", {"json": {}}, 404, "not_found"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_call_that_is_wrong_is_refused_in_words_and_changes_nothing(live: Live, name: str) -> None:
    path, call, status, code = BAD_CALLS[name]
    with nothing_done(live):
        answer = live.api.post(path, **call)
    _is_a_problem(answer, status, code)


def _is_a_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["code"] == code, told
    assert told["detail"], told
    assert told["hint"], told
    return told


def test_a_submission_that_cannot_be_is_refused_before_anything_is_kept(live: Live) -> None:
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"data": {**live.data, "holdout": NOWHERE}}, 404, "never uploaded"),
        ({"data": {**live.data, "holdout": "../../etc/passwd"}}, 422, "not a digest"),
        ({"data": {"holdout": live.data["holdout"]}}, 422, "do not fit"),
        ({"data": {**live.data, "extra": live.data["holdout"]}}, 422, "do not fit"),
        ({"source": {}}, 422, "source of a model"),
        ({"source": {"run_id": "a", "uri": "b"}}, 422, "source of a model"),
        ({"to": "moon"}, 422, "environment"),
        ({"config": ""}, 422, "lockgate.yaml"),
        ({"config": "x" * 300_000}, 422, "not valid"),
    ]
    with nothing_done(live):
        for change, status, sentence in wrong:
            told = _is_a_problem(
                live.api.post("/submissions", json=live.submission(**change)),
                status,
                "not_found" if status == 404 else "invalid",
            )
            assert sentence in told["detail"], told


def test_a_post_that_is_sent_again_with_its_key_is_done_once(live: Live) -> None:
    key = {"Idempotency-Key": f"again-{time.time_ns()}"}
    body = live.submission()
    first = live.api.post("/submissions", json=body, headers=key)
    assert first.status_code == 202, first.text
    _wait(lambda: _version(live, first)["state"] == "ready")
    with nothing_done(live):
        for _ in range(3):
            again = live.api.post("/submissions", json=body, headers=key)
            assert again.status_code == 202
            assert again.headers["idempotency-replayed"] == "true"
            assert again.json() == first.json()
        other = live.api.post("/submissions", json={**body, "reason": "another"}, headers=key)
        _is_a_problem(other, 422, "invalid")


def test_a_promotion_is_signed_once_and_only_for_its_own_report(live: Live) -> None:
    text = live.config.read_text(encoding="utf-8").replace("  prod:\n", "  dev: {approvals: 1}\n  prod:\n")
    taken = live.api.post("/submissions", json=live.submission(config=text, to="dev"))
    assert taken.status_code == 202, taken.text
    _wait(lambda: _version(live, taken)["state"] == "ready")
    id = _version(live, taken)["id"]

    def promotion() -> dict[str, Any]:
        return live.api.get("/promotions", params={"version": id}).json()["items"][0]

    _wait(lambda: promotion()["state"] == "awaiting_approval")
    path, report = f"/promotions/{promotion()['id']}", promotion()["report"]
    with live.platform.client(live.platform.somebody("grete", "approver")) as grete, nothing_done(live):
        own = live.api.post(f"{path}/approve", json={"report": report, "reason": "mine"})
        _is_a_problem(own, 403, "forbidden")
        with pytest.raises(LockgateError, match="report") as stale:
            grete.approve(promotion()["id"], report="report_of_another", reason="read it")
        assert stale.value.code == "stale_report"
    with live.platform.client(live.platform.somebody("gunda", "approver")) as gunda:
        assert gunda.approve(promotion()["id"], report=report, reason="read it")["state"] == "released"
        with nothing_done(live):
            for refused in (
                lambda: gunda.approve(promotion()["id"], report=report, reason="read it"),
                lambda: gunda.reject(promotion()["id"], reason="no"),
            ):
                with pytest.raises(LockgateError) as told:
                    refused()
                assert told.value.code == "not_allowed_now"
                assert told.value.hint


def _version(live: Live, taken: httpx.Response) -> dict[str, Any]:
    version = taken.json()["version"]
    return live.api.get(f"/models/{version['model']}/versions/{version['number']}").json()


# --- lockgate.yaml


def test_a_broken_lockgate_yaml_is_told_whole_with_its_lines(live: Live, tmp_path: Path) -> None:
    (tmp_path / "lockgate.yaml").write_text(BROKEN, encoding="utf-8")
    with nothing_done(live), live.platform.client() as client:
        told = _is_a_problem(live.api.post("/submissions", json=live.submission(config=BROKEN)), 422, "invalid")
        assert told["detail"] == "lockgate.yaml has 8 problems"
        lines = [problem.partition(":")[0] for problem in told["problems"]]
        assert lines == sorted(lines, key=lambda line: int(line.split()[1]))
        assert {"line 1", "line 2", "line 3", "line 5", "line 7", "line 10", "line 11"} == set(lines)
        with pytest.raises(Invalid) as raised:
            submit_model(client, tmp_path / "lockgate.yaml", source_of(run_id="0" * 32), tell=lambda text: None)
        assert list(raised.value.problems) == told["problems"]
        assert raised.value.hint == told["hint"]
        ended = lockgate(live.platform, "submit", str(tmp_path / "lockgate.yaml"), "--run", "0" * 32)
        assert ended.returncode == 2
        said = [f"error: {told['detail']}", *(f"  - {problem}" for problem in told["problems"])]
        assert ended.stderr.splitlines() == [*said, "", f"hint: {told['hint']}"]
        (tmp_path / "lockgate.yaml").write_text("model: [a\nowner: }\n", encoding="utf-8")
        ended = lockgate(live.platform, "submit", str(tmp_path / "lockgate.yaml"), "--run", "0" * 32)
        assert ended.returncode == 2
        assert "line 2" in ended.stderr
        assert "hint:" in ended.stderr


def lockgate(platform: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, as its users run it."""
    return subprocess.run(
        [sys.executable, "-m", "lockgate.cli.main", "--in", str(platform.home), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


REFUSED: dict[str, tuple[tuple[str, ...], int]] = {
    "a file there is not": (("submit", "/nowhere/lockgate.yaml", "--run", "a"), 2),
    "no model named": (("submit",), 2),
    "a version there is not": (("promote", f"{NAME}:99", "dev", "--reason", "x"), 1),
    "no version at all": (("promote", NAME, "dev", "--reason", "x"), 2),
    "an environment there is not": (("promote", f"{NAME}:1", "moon", "--reason", "x"), 1),
    "a promotion there is not": (("approve", "promo_0", "--reason", "x"), 1),
    "an endpoint there is not": (("rollback", "nobody.prod", "--reason", "x"), 1),
    "a report there is not": (("report", "report_0"), 1),
    "a job there is not": (("job", "show", "job_0"), 1),
    "a platform that is running": (("up", "--home", "{home}"), 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_command_line_is_refused_it_tells_in_a_sentence_and_a_hint(live: Live, name: str) -> None:
    words, code = REFUSED[name]
    home = str(live.platform.home)
    with nothing_done(live):
        ended = lockgate(live.platform, *(word.replace("{home}", home) for word in words))
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.startswith("error: "), ended.stderr
    assert "\n\nhint: " in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


# --- artifacts


@pytest.mark.parametrize(
    "path",
    ["../../../../../evil", "%2e%2e/%2e%2e/evil", "..%2f..%2fevil", "a/..%5c..%5cevil", "%252e%252e%252fevil", "a%00b"],
)
def test_an_artifact_cannot_be_logged_outside_its_run(live: Live, path: str) -> None:
    run = live.tracking.run({})
    answer = live.tracking.put(run, path, b"evil")
    assert answer.status_code in (400, 403), answer.text
    assert answer.json()["message"]
    assert not list(live.platform.home.rglob("*evil*"))


def test_an_absolute_path_stays_inside_its_run(live: Live) -> None:
    run = live.tracking.run({})
    live.tracking.put(run, "%2Fetc%2Fabsolute", b"x")
    assert not Path("/etc/absolute").exists()
    inside = live.tracking.folder(run).parent
    assert all(path.is_relative_to(inside) for path in live.platform.home.rglob("absolute"))


def test_a_call_to_mlflow_that_is_no_json_is_refused_before_it_gets_there(live: Live) -> None:
    answer = live.api.post(
        f"{live.platform.url}/mlflow/api/2.0/mlflow/runs/create",
        content=b'{"experiment_id": "1"',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "not valid JSON" in answer.json()["message"]
    assert "hint:" in answer.json()["message"]


@pytest.mark.parametrize("path", ["../../..", "..%2f..", "/etc", "model/../../../.."])
def test_nothing_outside_a_run_can_be_listed_or_read(live: Live, path: str) -> None:
    run = live.tracking.run({})
    for answer in (
        live.tracking.get("api/2.0/mlflow/artifacts/list", run_id=run.id, path=path),
        live.tracking.get("get-artifact", run_uuid=run.id, path=f"{path}/passwd"),
        live.tracking.get("api/2.0/mlflow-artifacts/artifacts", path=path),
    ):
        assert answer.status_code in (400, 403, 404), answer.text


def test_a_hostile_or_broken_model_fails_as_a_version_with_a_sentence_and_a_hint(live: Live, tmp_path: Path) -> None:
    text = live.files["MLmodel"].decode()
    skops = live.files["model.skops"]
    models: dict[str, tuple[dict[str, bytes], str]] = {
        "a file above": ({"MLmodel": text.replace("model.skops", "../../../../etc/passwd").encode()}, "unsafe"),
        "an absolute file": ({"MLmodel": text.replace("model.skops", "/etc/passwd").encode()}, "unsafe"),
        "a call in YAML": (
            {"MLmodel": f"{text}\nx: !!python/object/apply:os.mkdir [{tmp_path}/ran]\n".encode()},
            "MLmodel",
        ),
        "no YAML": ({"MLmodel": b"a: [1,\n b: }"}, "MLmodel"),
        "no text": ({"MLmodel": b"\xff\xfe\x00"}, "MLmodel"),
        "no flavors": ({"MLmodel": b"flavors: 3\n"}, "MLmodel"),
        "a pickle": ({"model.skops": b"\x80\x04\x95" + b"a" * 40}, "damaged"),
        "half of it": ({"model.skops": skops[: len(skops) // 2]}, "damaged"),
    }
    submitted = {
        name: live.api.post(
            "/submissions",
            json=live.submission(source={"run_id": live.tracking.run({**live.files, **files}).id, "artifact": "model"}),
        )
        for name, (files, _) in models.items()
    }
    whole = live.tracking.run(live.files)
    on_disk = live.tracking.folder(whole) / "model.skops"
    on_disk.write_bytes(skops[:100])
    link = live.tracking.run(live.files)
    (live.tracking.folder(link) / "model.skops").unlink()
    (live.tracking.folder(link) / "model.skops").symlink_to("/etc/passwd")
    for name, run in (("cut short on the disk", whole), ("a link on the disk", link)):
        models[name] = ({}, "model.skops")
        submitted[name] = live.api.post(
            "/submissions", json=live.submission(source={"run_id": run.id, "artifact": "model"})
        )
    for name, taken in submitted.items():
        failed = _failed(live, taken)
        assert models[name][1] in failed["failure"], (name, failed["failure"])
        assert "root:" not in failed["failure"]
    assert not (tmp_path / "ran").exists()


def test_data_that_cannot_be_read_fails_the_version_with_a_sentence_and_a_hint(live: Live, tmp_path: Path) -> None:
    with live.platform.client() as client:
        (tmp_path / "bad").write_bytes(b"PAR1" + b"x" * 100)
        bad = client.upload(tmp_path / "bad")
    for role in ("holdout", "training"):
        taken = live.api.post("/submissions", json=live.submission(data={**live.data, role: bad}))
        assert role in _failed(live, taken)["failure"]


def test_a_model_that_is_nowhere_fails_the_version_and_the_command(live: Live) -> None:
    sources: list[dict[str, str]] = [
        {"run_id": "../../x"},
        {"registered_model": "ghost", "version": "1"},
        {"uri": "file:///etc/passwd"},
    ]
    for taken in [live.api.post("/submissions", json=live.submission(source=source)) for source in sources]:
        _failed(live, taken)
    with pytest.raises((NotServable, NotFound)) as told, live.platform.client() as client:
        submit_model(client, live.config, source_of(run_id="0" * 32), tell=lambda text: None)
    assert told.value.hint
    ended = lockgate(live.platform, "submit", str(live.config), "--run", "0" * 32)
    assert ended.returncode == 1
    assert f"there is no run {'0' * 32}" in ended.stderr
    assert "\n\nhint: " in ended.stderr
    assert "Traceback" not in ended.stderr


def _failed(live: Live, taken: httpx.Response) -> dict[str, Any]:
    assert taken.status_code == 202, taken.text
    _wait(lambda: _version(live, taken)["state"] != "packaging", 120)
    version = _version(live, taken)
    assert version["state"] == "failed", version
    assert version["failure"]
    assert "\n" not in version["failure"]
    assert version["hint"], version
    assert version["package"] is None
    assert live.api.get(f"/jobs/{taken.json()['job']}").json()["state"] == "done"
    assert live.api.get("/promotions", params={"version": version["id"]}).json()["items"] == []
    return version
