"""Models read from a real MLflow server behind its socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
import uvicorn
from mlflow.sklearn import log_model
from sklearn.linear_model import LogisticRegression

from lockgate.adapters.mlflow.server import HOST
from lockgate.adapters.mlflow.source import MLflowSource
from lockgate.base.errors import Invalid, NotFound, Unavailable, UnsafeArtifact

MODEL_FILES = {"MLmodel": b"flavors: {}\n", "model.skops": b"PK" + bytes(300_000), "code/extra.py": b"x = 1\n"}


class Server:
    """The tracking server, and the few calls an MLflow client makes to log a model."""

    def __init__(self, path: Path) -> None:
        self.socket = path
        transport = httpx.HTTPTransport(uds=str(path))
        self.http = httpx.Client(transport=transport, base_url=f"http://{HOST}", timeout=30)

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"params": body} if method == "GET" else {"json": body}
        response = self.http.request(method, f"/api/2.0/mlflow/{path}", **given)
        assert response.status_code == 200, response.text
        return response.json()

    def put(self, location: str, name: str, content: bytes) -> None:
        path = location.removeprefix("mlflow-artifacts:/").strip("/")
        response = self.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{path}/{name}", content=content)
        assert response.status_code == 200, response.text

    def run(self) -> dict[str, Any]:
        run = self.call("POST", "runs/create", experiment_id="0", start_time=1)["run"]
        self.call("POST", "runs/log-parameter", run_id=run["info"]["run_id"], key="depth", value="3")
        self.call("POST", "runs/log-metric", run_id=run["info"]["run_id"], key="auc", value=0.9, timestamp=1)
        return run["info"]

    def model(self, run: dict[str, Any], name: str = "model", files: dict[str, bytes] | None = None) -> str:
        made = self.call("POST", "logged-models", experiment_id="0", name=name, source_run_id=run["run_id"])
        info = made["model"]["info"]
        outputs = [{"model_id": info["model_id"], "step": 0}]
        self.call("POST", "runs/outputs", run_id=run["run_id"], models=outputs)
        for path, content in (MODEL_FILES if files is None else files).items():
            self.put(info["artifact_uri"], path, content)
        self.call("PATCH", f"logged-models/{info['model_id']}", model_id=info["model_id"], status="LOGGED_MODEL_READY")
        return info["model_id"]

    def register(self, name: str, run: dict[str, Any], model_id: str) -> None:
        self.http.post("/api/2.0/mlflow/registered-models/create", json={"name": name})
        self.call(
            "POST",
            "model-versions/create",
            name=name,
            source=f"models:/{model_id}",
            model_id=model_id,
            run_id=run["run_id"],
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="lg-") as home:
        path = Path(home, "run", "mlflow.sock")
        command = [sys.executable, "-m", "lockgate.adapters.mlflow.server", "--socket", str(path)]
        with Path(home, "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--home", str(Path(home, "mlflow"))], stderr=log, stdout=log, env=dict(os.environ)
            )
        known = Server(path)
        try:
            for _ in range(900):
                assert process.poll() is None, Path(home, "log").read_text()
                if _listening(path):
                    break
                time.sleep(0.1)
            assert known.http.get("/health").status_code == 200
            yield known
        finally:
            known.http.close()
            process.terminate()
            process.wait(20)


def _listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def source(server: Server) -> Iterator[MLflowSource]:
    reader = MLflowSource(server.socket)
    yield reader
    reader.close()


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_found_by_run_by_version_by_alias_and_by_its_own_id(
    server: Server, source: MLflowSource, tmp_path: Path
) -> None:
    run = server.run()
    model_id = server.model(run)
    server.register("thyroid", run, model_id)
    source.set_alias("thyroid", "champion", "1")
    run_id = run["run_id"]
    sources: list[dict[str, str]] = [
        {"run_id": run_id},
        {"run_id": run_id, "artifact": "model"},
        {"registered_model": "thyroid", "version": "1"},
        {"uri": f"runs:/{run_id}/model"},
        {"uri": "models:/thyroid/1"},
        {"uri": "models:/thyroid@champion"},
        {"uri": f"models:/{model_id}"},
    ]
    for index, given in enumerate(sources):
        facts = source.fetch(given, tmp_path / str(index))
        assert read(tmp_path / str(index)) == MODEL_FILES
        assert facts["run_id"] == run_id
        assert facts["parameters"] == {"depth": "3"}
        assert facts["metrics"] == {"auc": 0.9}
        by_name = "registered_model" in given or "thyroid" in given.get("uri", "")
        assert (facts.get("registered_model"), facts.get("version")) == (("thyroid", "1") if by_name else (None, None))


def test_a_model_that_a_client_of_today_logged_is_read_whole(
    server: Server, source: MLflowSource, tmp_path: Path
) -> None:
    """The stock client, over TCP as it must be: a plain forwarder stands where our proxy will."""
    with _forwarded(server.socket) as address, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(address)
        with mlflow.start_run(experiment_id="0") as run:
            model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
            log_model(model, name="model", pip_requirements=["scikit-learn"])
    source.fetch({"run_id": run.info.run_id}, tmp_path / "model")
    assert {"MLmodel", "model.skops", "requirements.txt"} <= set(read(tmp_path / "model"))


def test_artifacts_of_a_run_that_older_clients_log_are_found(
    server: Server, source: MLflowSource, tmp_path: Path
) -> None:
    run = server.run()
    server.put(run["artifact_uri"], "models/old/MLmodel", b"flavors: {}\n")
    facts = source.fetch({"run_id": run["run_id"], "artifact": "models/old"}, tmp_path / "model")
    assert read(tmp_path / "model") == {"MLmodel": b"flavors: {}\n"}
    assert facts["uri"] == f"runs:/{run['run_id']}/models/old"


def test_what_does_not_exist_is_not_found(server: Server, source: MLflowSource, tmp_path: Path) -> None:
    run = server.run()
    missing: list[dict[str, str]] = [
        {"run_id": "0" * 32},
        {"run_id": run["run_id"]},
        {"run_id": run["run_id"], "artifact": "nothing"},
        {"registered_model": "nobody", "version": "1"},
        {"uri": "models:/nobody@champion"},
        {"uri": f"models:/m-{'0' * 32}"},
    ]
    for given in missing:
        with pytest.raises(NotFound):
            source.fetch(given, tmp_path / "model")
    with pytest.raises(NotFound):
        source.set_alias("nobody", "champion", "1")
    assert not (tmp_path / "model").exists()


def test_a_logged_model_without_an_mlmodel_is_no_model(server: Server, source: MLflowSource, tmp_path: Path) -> None:
    model_id = server.model(server.run(), files={"notes.txt": b"no model"})
    with pytest.raises(NotFound, match="no MLflow model"):
        source.fetch({"uri": f"models:/{model_id}"}, tmp_path / "model")


def test_several_models_in_one_run_have_to_be_told_apart(server: Server, source: MLflowSource, tmp_path: Path) -> None:
    run = server.run()
    server.model(run, "first")
    server.model(run, "second", {"MLmodel": b"second: 1\n"})
    with pytest.raises(Invalid, match="first, second"):
        source.fetch({"run_id": run["run_id"]}, tmp_path / "model")
    source.fetch({"run_id": run["run_id"], "artifact": "second"}, tmp_path / "model")
    assert read(tmp_path / "model") == {"MLmodel": b"second: 1\n"}


@pytest.mark.parametrize(
    "given",
    [
        {"uri": "s3://bucket/model"},
        {"uri": "file:///etc"},
        {"uri": "models:/name"},
        {"uri": ""},
        {"run_id": "../../etc"},
        {"version": "1"},
        {},
    ],
)
def test_a_source_of_another_form_is_invalid(given: dict[str, str], source: MLflowSource, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        source.fetch(given, tmp_path / "model")


@pytest.mark.parametrize("artifact", ["../other", "/etc", "a\\b", "a//b"])
def test_an_artifact_path_never_leaves_the_run(
    artifact: str, server: Server, source: MLflowSource, tmp_path: Path
) -> None:
    with pytest.raises(UnsafeArtifact):
        source.fetch({"run_id": server.run()["run_id"], "artifact": artifact}, tmp_path / "model")


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    reader = MLflowSource(tmp_path / "nobody.sock")
    with pytest.raises(Unavailable) as caught:
        reader.fetch({"run_id": "0" * 32}, tmp_path / "model")
    assert caught.value.hint
    reader.close()


class _forwarded:
    """A TCP port that is the socket, for clients that know no sockets; it writes the Host our proxy writes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            url = httpx.URL(path=scope["path"], query=scope["query_string"])
            transport = httpx.AsyncHTTPTransport(uds=str(self._path))
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", timeout=30) as client:
                answer = await client.request(scope["method"], url, headers=headers, content=body)
            kept = [(b"content-type", answer.headers.get("content-type", "text/plain").encode())]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            await send({"type": "http.response.body", "body": answer.content})

        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_level="error", interface="asgi3")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join()
