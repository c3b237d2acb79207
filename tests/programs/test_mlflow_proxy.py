"""The stock MLflow client and server, with our proxy between them."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import mlflow
import mlflow.artifacts
import numpy as np
import pytest
from fastapi import FastAPI
from mlflow.exceptions import MlflowException
from mlflow.sklearn import load_model, log_model
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression

from lockgate.controlplane.api.app import create_app
from lockgate.controlplane.mlflow_proxy.proxy import MlflowProxy
from lockgate.controlplane.sessions import COOKIE
from lockgate.domain.access.records import RoleName
from lockgate.workflows.guard_registry import RegistryGuard
from tests.control import Control, control_in, served

#: The largest body that the proxy of these tests takes.
LARGEST = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Running:
    """A platform with a tracking server behind its proxy."""

    url: str
    control: Control
    tracking: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.control.parts.settings.mlflow_socket


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    control = control_in(home)
    parts = control.parts
    errors = (home / "mlflow.log").open("wb")
    command = [sys.executable, "-m", "lockgate.adapters.mlflow.server"]
    at = parts.settings.mlflow_socket
    tracking = subprocess.Popen([*command, "--socket", str(at), "--home", str(home / "mlflow")], stderr=errors)
    try:
        with served(_app(control)) as url:
            _wait(lambda: _answers(at))
            yield Running(url=url, control=control, tracking=tracking)
    finally:
        tracking.terminate()
        tracking.wait(20)
        errors.close()


def _app(control: Control) -> FastAPI:
    proxy = MlflowProxy(
        socket=control.parts.settings.mlflow_socket,
        callers=control.parts.callers,
        authorizer=control.parts.authorizer,
        guard=RegistryGuard(control.parts.store),
        largest=LARGEST,
    )

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncGenerator[None]:
        yield
        await proxy.close()

    return create_app(control.parts, mounts={"/mlflow": proxy}, lifespan=living)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _wait(ready: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "not ready in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def developer(running: Running) -> str:
    return running.control.token("dora", RoleName.DEVELOPER)


@pytest.fixture(scope="module")
def viewer(running: Running) -> str:
    return running.control.token("victor", RoleName.VIEWER)


@pytest.fixture
def signed_in(running: Running, developer: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ordinary MLflow client, told of us by its own two variables."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", developer)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"{running.url}/mlflow")
    yield f"{running.url}/mlflow"
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(running: Running, developer: str) -> Iterator[httpx.Client]:
    """A client of no manners, with a developer's token."""
    with httpx.Client(base_url=running.url, headers={"authorization": f"Bearer {developer}"}) as made:
        yield made


@pytest.fixture(scope="module")
def registered(running: Running, developer: str) -> str:
    """The name of a registered model with two versions."""
    name = "registered"
    headers = {"authorization": f"Bearer {developer}"}
    with httpx.Client(base_url=f"{running.url}/mlflow/api/2.0/mlflow", headers=headers) as client:
        client.post("/registered-models/create", json={"name": name}).raise_for_status()
        run = client.post("/runs/create", json={"experiment_id": "0"}).raise_for_status().json()["run"]["info"]
        version = {"name": name, "source": f"runs:/{run['run_id']}/model", "run_id": run["run_id"]}
        for _ in range(2):
            client.post("/model-versions/create", json=version).raise_for_status()
    return name


# MLflow's client warns of much that is its own affair.
@pytest.mark.filterwarnings("ignore")
def test_a_data_scientist_works_with_the_stock_client_as_ever(signed_in: str) -> None:
    experiment = mlflow.set_experiment("proxied")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    rows = np.random.default_rng(7).normal(size=(60, 3))
    model = LogisticRegression().fit(rows, rows.sum(axis=1) > 0)
    with mlflow.start_run() as run:
        mlflow.log_param("c", 1.0)
        mlflow.log_metric("auc", 0.9)
        mlflow.log_metrics({"f1": 0.8, "recall": 0.7})
        mlflow.log_text("notes", "a folder/näme with; signs & more.txt")
        logged = log_model(
            model, name="model", serialization_format="skops", pip_requirements=["scikit-learn"], input_example=rows[:2]
        )
    client = MlflowClient()
    assert client.get_run(run.info.run_id).data.metrics["auc"] == 0.9
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/a folder/näme with; signs & more.txt") == "notes"
    version = mlflow.register_model(logged.model_uri, "iris")
    client.set_registered_model_alias("iris", "candidate", version.version)
    loaded: Any = load_model("models:/iris@candidate")
    assert (loaded.predict(rows) == model.predict(rows)).all()
    assert [found.version for found in client.search_model_versions("name = 'iris'")] == [version.version]
    assert client.search_runs([experiment.experiment_id])[0].info.run_id == run.info.run_id


@pytest.mark.parametrize("alias", ["prod", "Production", "champion"])
def test_an_alias_that_means_an_environment_is_refused_and_the_client_shows_why(
    signed_in: str, registered: str, alias: str
) -> None:
    with pytest.raises(MlflowException, match=r"never submitted(.|\n)*hint: lockgate submit") as refusal:
        MlflowClient().set_registered_model_alias(registered, alias, "1")
    assert refusal.value.error_code == "PERMISSION_DENIED"
    assert MlflowClient().get_registered_model(registered).aliases == {}


def test_a_stage_that_means_an_environment_is_refused_and_any_other_is_set(signed_in: str, registered: str) -> None:
    client = MlflowClient()
    with pytest.warns(FutureWarning, match="stages"), pytest.raises(MlflowException, match="never submitted"):
        client.transition_model_version_stage(registered, "1", "Production")
    with pytest.warns(FutureWarning, match="stages"):
        assert client.transition_model_version_stage(registered, "1", "Archived").current_stage == "Archived"


@pytest.mark.parametrize(
    "body",
    [
        '{"name":"registered","alias":"mine","version":"1","alias":"prod"}',
        '{"name":"registered","alias":"mine","version":"1","Alias":"prod"}',
        r'{"name":"registered","alias":"mine","alias":"prod","version":"1"}',
        '"{\\"name\\":\\"registered\\",\\"alias\\":\\"prod\\",\\"version\\":\\"1\\"}"',
        '{"name":"registered","alias":["prod"],"version":"1"}',
        '{"name":"registered","alias":"prod","version":"1_0"}',
        '{"name":"registered","alias":"prod","version":NaN}',
        '{"name":"registered","alias":"prod","version":"1"',
        "",
        "[" * 100_000,
    ],
)
def test_a_body_that_could_be_read_in_two_ways_changes_nothing(
    client: httpx.Client, registered: str, body: str
) -> None:
    for face in ("api/2.0", "ajax-api/2.0", "api/2.0/preview"):
        path = f"/mlflow/{face}/mlflow/registered-models/alias?name=registered&alias=prod&version=1"
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert _aliases(client, registered) == []


@pytest.mark.parametrize(
    "path",
    [
        "/mlflow/api/2.0/mlflow/registered-models/alias/",
        "/mlflow//api//2.0///mlflow/registered-models/alias",
        "/mlflow/api/2.0/mlflow/registered-models/%61lias",
        "/mlflow/ajax-api/2.0/mlflow/registered-models/alias",
        "/mlflow/api/3.0/mlflow/registered-models/alias",
        "/mlflow/api/2.0/preview/mlflow/registered-models/alias",
        "/mlflow/api/2.0/mlflow/registered-models/alias;x=1",
        "/mlflow/api/2.0/mlflow/registered-models/./alias",
        "/mlflow/api/2.0/mlflow/runs/../registered-models/alias",
        "/mlflow/api/2.0/mlflow/registered-models/%252e%252e/registered-models/alias",
        "/mlflow/api/2.0/mlflow/registered-models%2Falias",
        "/mlflow/api/2.0/mlflow/registered-models/alias%00",
        "/mlflow/api/2.0/mlflow/registered-models\\alias",
        "/mlflow/api/2.0/mlflow/Registered-Models/alias",
    ],
)
def test_no_other_spelling_of_the_path_gets_round_the_gate(
    running: Running, client: httpx.Client, registered: str, path: str
) -> None:
    body = {"name": registered, "alias": "prod", "version": "1"}
    request = client.build_request("POST", running.url, json=body)
    request.url = httpx.URL(running.url).copy_with(raw_path=path.encode())
    answer = client.send(request)
    assert answer.status_code in (400, 403), answer.text
    assert _aliases(client, registered) == []


def _aliases(client: httpx.Client, name: str) -> list[Any]:
    found = client.get("/mlflow/api/2.0/mlflow/registered-models/get", params={"name": name}).raise_for_status()
    return found.json()["registered_model"].get("aliases", [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "api/2.0/mlflow/webhooks"),
        ("GET", "api/2.0/mlflow/webhooks"),
        ("POST", "api/3.0/mlflow/gateway/secrets/create"),
        ("POST", "ajax-api/3.0/jobs/"),
        ("POST", "ajax-api/3.0/mlflow/assistant/message"),
        ("POST", "api/2.0/mlflow/artifacts/presigned-upload-url"),
        ("POST", "api/3.0/mlflow/scorers/register"),
        ("POST", "ajax-api/3.0/mlflow/ui-telemetry"),
        ("GET", "graphql"),
        ("OPTIONS", "api/2.0/mlflow/runs/create"),
        ("PUT", "api/2.0/mlflow/registered-models/alias"),
        ("GET", "api/2.0/mlflow/no-such-thing"),
    ],
)
def test_a_route_that_is_not_in_the_table_is_refused(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, f"/mlflow/{path}")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "path", ["/", "/version", "/health", "/static-files/manifest.json", "/api/2.0/mlflow/experiments/search", "/no"]
)
def test_a_stranger_sees_nothing_at_all(running: Running, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer lg_nonsense"}, {"authorization": "Basic !"}, {"cookie": "a=b"}):
        answer = httpx.get(f"{running.url}/mlflow{path}", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_the_stock_client_without_a_token_is_told_to_sign_in(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException, match="Sign in first"):
        MlflowClient(f"{running.url}/mlflow").search_experiments()


def test_a_viewer_looks_and_changes_nothing(running: Running, viewer: str) -> None:
    headers = {"authorization": f"Bearer {viewer}"}
    with httpx.Client(base_url=f"{running.url}/mlflow/api/2.0/mlflow", headers=headers) as client:
        assert client.get("/experiments/get", params={"experiment_id": "0"}).is_success
        assert client.post("/runs/search", json={"experiment_ids": ["0"]}).is_success
        assert client.post("/runs/create", json={"experiment_id": "0"}).status_code == 403


def test_a_token_is_taken_as_a_password_too(running: Running, viewer: str) -> None:
    answer = httpx.get(f"{running.url}/mlflow/version", auth=("whoever", viewer))
    assert answer.text == mlflow.__version__


def test_a_model_s_files_can_only_lie_where_they_were_logged(client: httpx.Client, registered: str) -> None:
    for source in ("file:///etc", "/etc", "http://127.0.0.1/x", "s3://bucket/x", "dbfs:/x"):
        body = {"name": registered, "source": source}
        answer = client.post("/mlflow/api/2.0/mlflow/model-versions/create", json=body)
        assert answer.status_code == 400
    body = {"name": "elsewhere", "artifact_location": "file:///tmp/x"}
    assert client.post("/mlflow/api/2.0/mlflow/experiments/create", json=body).status_code == 400


def test_graphql_reads_and_does_not_write(client: httpx.Client) -> None:
    ask = {"query": "query Q($i: String!) { test(inputString: $i) { output } }", "variables": {"i": "seen"}}
    assert client.post("/mlflow/graphql", json=ask).json()["data"] == {"test": {"output": "seen"}}
    for query in ('mutation { testMutation(inputString: "x") { output } }', "query A { a } mutation B { b }"):
        assert client.post("/mlflow/graphql", json={"query": query, "operationName": "A"}).status_code == 403
    for body in ("[]", '{"query": 1}', '{"query": "{"}', '{"query": "{a}", "query": "mutation{b}"}'):
        assert client.post("/mlflow/graphql", content=body).status_code == 400


def test_a_large_artifact_streams_through_without_being_held_in_memory(client: httpx.Client) -> None:
    chunk = os.urandom(1 << 20)
    path = "/mlflow/api/2.0/mlflow-artifacts/artifacts/big/file.bin"

    def body() -> Iterator[bytes]:
        yield from [chunk] * 48

    before = _peak_kb()
    assert client.put(path, content=body(), timeout=60).status_code == 200
    size = 0
    with client.stream("GET", path, timeout=60) as answer:
        for piece in answer.iter_bytes():
            size += len(piece)
        assert answer.headers["content-security-policy"].startswith("sandbox")
    assert size == 48 << 20
    assert _peak_kb() - before < 24 << 10
    assert client.get(path, headers={"range": "bytes=0-3"}).content == chunk[:4]


def _peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_an_artifact_beyond_the_limit_is_refused_and_not_kept(client: httpx.Client) -> None:
    path = "/mlflow/api/2.0/mlflow-artifacts/artifacts/big/too-large.bin"
    chunk = bytes(1 << 20)
    # Announced, it is refused before a byte of it was sent.
    announced = HTTPConnection(client.base_url.host, client.base_url.port or 80)
    announced.putrequest("PUT", path)
    announced.putheader("Authorization", client.headers["authorization"])
    announced.putheader("Content-Length", str(LARGEST + 1))
    announced.endheaders()
    assert announced.getresponse().status == 413
    announced.close()
    assert client.put(path, content=iter([chunk] * 70), timeout=60).status_code == 413
    assert client.get(path).status_code == 404


def test_a_browser_s_session_works_and_another_site_cannot_use_it(running: Running, developer: str) -> None:
    home = {"origin": running.url, "sec-fetch-site": "same-origin"}
    with httpx.Client(base_url=running.url) as browser:
        page = browser.get("/mlflow/", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=/mlflow/")
        signed_in = browser.post("/api/v1/session", json={"token": developer}, headers=home).raise_for_status()
        assert "HttpOnly" in signed_in.headers["set-cookie"]
        assert "SameSite=strict" in signed_in.headers["set-cookie"]
        assert developer not in browser.cookies[COOKIE]
        page = browser.get("/mlflow/", headers={"accept": "text/html"})
        assert "<title>MLflow</title>" in page.text
        script = page.text.partition('src="')[2].partition('"')[0]
        assert browser.get(f"/mlflow/{script}").headers["content-type"].startswith("text/javascript")
        create = "/mlflow/ajax-api/2.0/mlflow/runs/create"
        assert browser.post(create, json={"experiment_id": "0"}, headers=home).is_success
        for foreign in (
            {},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "origin": running.url},
            {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
        ):
            assert browser.post(create, json={"experiment_id": "0"}, headers=foreign).status_code == 403
        # What other sites can make a browser send with remembered basic credentials:
        basic = base64.b64encode(f"x:{developer}".encode()).decode()
        foreign = {"authorization": f"Basic {basic}", "origin": "https://evil.example"}
        assert browser.post(create, json={"experiment_id": "0"}, headers=foreign).status_code == 403
        browser.delete("/api/v1/session", headers=home).raise_for_status()
        assert browser.get("/mlflow/version").status_code == 401


def test_credentials_go_no_further_than_the_proxy(running: Running, client: httpx.Client) -> None:
    answer = client.get("/mlflow/api/2.0/mlflow/experiments/search", params={"max_results": 1})
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    wrong = client.get("/mlflow/version", headers={"host": "rebound.example"})
    assert wrong.status_code == 421


def test_a_governed_model_is_neither_renamed_nor_deleted_but_any_other_is(signed_in: str) -> None:
    client = MlflowClient()
    client.create_registered_model("free")
    client.rename_registered_model("free", "freer")
    client.delete_registered_model("freer")
    with pytest.raises(MlflowException) as gone:
        client.get_registered_model("freer")
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_the_tracking_server_listens_nowhere_but_on_its_private_socket(running: Running) -> None:
    assert running.socket.parent.stat().st_mode & 0o777 == 0o700
    assert running.socket.stat().st_mode & 0o077 == 0
    inodes = {
        os.readlink(link).removeprefix("socket:[").rstrip("]")
        for link in Path(f"/proc/{running.tracking.pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:")
    }
    listening = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    assert not [row for row in listening if row[3] == "0A" and row[9] in inodes]


def test_while_the_tracking_server_is_away_clients_are_told_to_try_again(tmp_path: Path) -> None:
    control = control_in(tmp_path)
    app = _app(control)
    token = control.token("dora", RoleName.DEVELOPER)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get("/mlflow/version", headers={"authorization": f"Bearer {token}"})

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
