"""Whatever is killed, predictions go on, work is done once, nothing that was answered is lost, and all comes back."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from deltalake import DeltaTable

from lockgate.sdk.rows import tensors
from lockgate.sdk.submitting import source_of, submit_model
from tests.e2e import biopsy
from tests.e2e.caller import Caller
from tests.e2e.platform import Platform, start

NAME = "ward"

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, kw_only=True)
class Ward:
    """A platform of two gateways with a model live in dev."""

    platform: Platform
    log: Path
    config: Path
    #: An inference request of one row.
    body: dict[str, Any]

    @property
    def url(self) -> str:
        return f"{self.platform.gateway}/v2/models/{NAME}.dev/infer"

    def calling(self) -> Caller:
        return Caller(self.url, self.platform.admin_token, self.body)

    def kill(self, *names: str) -> None:
        """End children at once, without notice."""
        known = self.platform.children()
        for name in names:
            os.kill(known[name], signal.SIGKILL)

    def logged(self) -> Counter[str]:
        """How often each prediction stands in the table."""
        table = DeltaTable(self.platform.home / "predictions").to_pyarrow_table(columns=["prediction_id"])
        return Counter(str(id) for id in table["prediction_id"].to_pylist())


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[..., int]) -> Generator[Ward]:
    folder = tmp_path_factory.mktemp(NAME)
    platform = start(folder / "home", free_port(3), folder / "up.log", workers=2)
    try:
        config = biopsy.prepare(folder, NAME)
        version = platform.mlflow(platform.admin_token, "log", NAME, "1.0")["version"]
        with platform.client() as client:
            submit_model(client, config, source_of(model=f"{NAME}/{version}"), tell=lambda text: None)
        headers = {"authorization": f"Bearer {platform.admin_token}"}
        with httpx.Client(base_url=platform.gateway, headers=headers) as gateway:
            until(lambda: gateway.get(f"/v2/models/{NAME}.dev").status_code == 200)
            inputs = gateway.get(f"/v2/models/{NAME}.dev").json()["inputs"]
        rows = biopsy.tables()[1].drop(columns="malignant").head(1)
        yield Ward(platform=platform, log=folder / "up.log", config=config, body={"inputs": tensors(rows, inputs)})
    finally:
        ended = platform.stop()
    assert ended == 0


def until(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it is true."""
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "it did not become true in time"
        time.sleep(0.1)


def replaced(platform: Platform, before: dict[str, int], *names: str) -> bool:
    """Whether these children are ready again, as other processes."""
    now = platform.children()
    return all(name in now and now[name] != before[name] for name in names)


def test_no_prediction_fails_while_the_control_plane_is_killed_and_comes_back(ward: Ward) -> None:
    before = ward.platform.children()
    with ward.calling() as caller:
        caller.until(25)
        ward.kill("control-plane")
        caller.until(50)
        until(lambda: replaced(ward.platform, before, "control-plane"))
        ward.platform.wait_for("/api/v1/audit/verify", 30)
        caller.until(25)
    assert caller.lost == []
    assert caller.broken == 0
    assert caller.versions == {f"{NAME}:1"}


def test_a_killed_gateway_comes_back_while_the_other_answers(ward: Ward) -> None:
    before = ward.platform.children()
    with ward.calling() as caller:
        caller.until(25)
        ward.kill("gateway-0")
        until(lambda: replaced(ward.platform, before, "gateway-0"))
        caller.until(25)
    assert caller.lost == []
    assert ward.platform.children()["gateway-1"] == before["gateway-1"]


def test_gateways_restarted_without_a_control_plane_serve_what_they_served(ward: Ward) -> None:
    before = ward.platform.children()
    os.kill(before["control-plane"], signal.SIGSTOP)
    try:
        with ward.calling() as caller:
            caller.until(25)
            ward.kill("gateway-0", "gateway-1")
            until(lambda: replaced(ward.platform, before, "gateway-0", "gateway-1"))
            caller.until(50)
        assert caller.lost == []
        assert caller.versions == {f"{NAME}:1"}
    finally:
        os.kill(before["control-plane"], signal.SIGCONT)
    ward.platform.wait_for("/api/v1/audit/verify", 30)
    assert ward.platform.children()["control-plane"] == before["control-plane"]


def test_what_a_killed_gateway_answered_is_in_the_table_once(ward: Ward) -> None:
    before = ward.platform.children()
    with ward.calling() as caller:
        caller.until(60)
        ward.kill("gateway-0", "gateway-1")
        until(lambda: replaced(ward.platform, before, "gateway-0", "gateway-1"))
        caller.until(20)
        ward.kill("prediction-log")
        caller.until(20)
    assert caller.lost == []
    until(lambda: set(caller.answered) <= ward.logged().keys(), 60)
    logged = ward.logged()
    assert [id for id in caller.answered if logged[id] != 1] == []


def test_on_a_full_disk_predictions_go_on_and_what_is_not_logged_is_counted(ward: Ward) -> None:
    headers = {"authorization": f"Bearer {ward.platform.admin_token}"}
    # One connection, and so one gateway: each counts for itself.
    with httpx.Client(headers=headers, timeout=20, limits=httpx.Limits(max_connections=1)) as client:

        def ask(times: int) -> list[str]:
            answers = [client.post(ward.url, json=ward.body) for _ in range(times)]
            assert {answer.status_code for answer in answers} == {200}
            return [answer.headers["x-lockgate-prediction-id"] for answer in answers]

        def count(name: str) -> float:
            text = client.get(f"{ward.platform.gateway}/metrics").text
            found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
            assert found, text
            return float(found[1])

        before = ask(5)
        dropped = count("lockgate_log_dropped_total")
        with no_room(ward.platform, "gateway-0", "gateway-1"):
            ask(30)
            assert count("lockgate_log_dropped_total") >= dropped + 30
        time.sleep(1.5)  # it tries again after a second
        counted = count("lockgate_log_dropped_total")
        after = ask(5)
        assert count("lockgate_log_dropped_total") == counted
    until(lambda: {*before, *after} <= ward.logged().keys())
    assert {ward.logged()[id] for id in (*before, *after)} == {1}


def test_on_a_full_disk_a_change_is_refused_whole_and_the_control_plane_lives(ward: Ward) -> None:
    person = {"name": "late", "roles": ["viewer"], "reason": "x" * 900}
    headers = {"authorization": f"Bearer {ward.platform.admin_token}"}
    with httpx.Client(base_url=f"{ward.platform.url}/api/v1", headers=headers, timeout=30) as api:

        def names() -> set[str]:
            return {each["name"] for each in api.get("/people", params={"limit": 200}).json()["items"]}

        with no_room(ward.platform, "control-plane"), ward.calling() as caller:
            for refused in (api.post("/people", json=person), api.post("/data", content=b"x" * 10_000)):
                assert refused.status_code == 503, refused.text
                assert refused.json()["code"] == "unavailable"
                assert refused.json()["hint"]
            assert "late" not in names()
            # Long enough for each loop to have met the full disk.
            caller.until(150)
        assert caller.lost == []
        until(lambda: api.post("/people", json=person).status_code == 201)
        assert "late" in names()
        assert api.get("/audit/verify").json()["proved"]


@contextmanager
def no_room(platform: Platform, *names: str) -> Generator[None]:
    """No file of these children may grow: as on a full disk, and for anybody to arrange."""
    before = platform.children()
    limits = {name: resource.prlimit(before[name], resource.RLIMIT_FSIZE) for name in names}
    for name, (_, hard) in limits.items():
        resource.prlimit(before[name], resource.RLIMIT_FSIZE, (1, hard))
    yield
    assert platform.children() == before, "a child did not survive the full disk"
    for name, limit in limits.items():
        resource.prlimit(before[name], resource.RLIMIT_FSIZE, limit)


def test_a_job_whose_worker_is_killed_is_done_once_in_the_end(ward: Ward) -> None:
    before = ward.platform.children()
    with ward.platform.client() as client:
        data = {role: client.upload(ward.config.parent / f"{role}.parquet") for role in ("holdout", "training")}
        text = ward.config.read_text(encoding="utf-8")
        source = {"registered_model": NAME, "version": "1"}
        version, job = client.submit(source, text, data, to=None)
        until(lambda: client.job(job)["state"] == "running")
        ward.kill("job-worker")
        until(lambda: client.job(job)["state"] == "done", 120)
        assert client.job(job)["attempts"] == 2
        assert client.get_version(NAME, version["number"])["state"] == "ready"
        told = [entry["action"] for entry in client.audit_entries(subject=f"version/{version['id']}")]
        assert told == ["version.packaged", "version.submitted"]
    assert replaced(ward.platform, before, "job-worker")


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_one_goes_on(ward: Ward) -> None:
    platform = ward.platform
    headers = {"authorization": f"Bearer {platform.admin_token}"}
    with platform.client() as client:
        endpoint = client.endpoint(f"{NAME}.dev")
        route = next(client.routes())
        entries = {entry["seq"]: entry["hash"] for entry in client.audit_entries()}
    answer = httpx.post(ward.url, json=ward.body, headers=headers).json()
    children = platform.children()
    assert len(children) == 6
    platform.process.kill()
    platform.process.wait(10)
    until(lambda: not any(_alive(pid) for pid in children.values()), 60)

    again = start(platform.home, platform.port, ward.log.with_name("again.log"), workers=2, awaited="ready in")
    platform.process = again.process
    with platform.client() as client:
        assert client.endpoint(f"{NAME}.dev") == endpoint
        assert next(client.routes()) == route
        assert client.verify_audit()["proved"]
        now = {entry["seq"]: entry["hash"] for entry in client.audit_entries()}
    assert entries.items() <= now.items()
    said = httpx.post(ward.url, json=ward.body, headers=headers).json()
    assert said["outputs"] == answer["outputs"]
    assert said["model_version"] == answer["model_version"]
    assert said["parameters"]["generation"] == answer["parameters"]["generation"]


def _alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
