"""Other servers, each in a Python environment of its own with pinned versions, answering for the same model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load import Ask
from benchmarks.running import HOST, free_ports
from benchmarks.surroundings import plain_environment, tree
from tools.packages import UV, uv_environment

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockgate-bench"
HERE = Path(__file__).parent
_PATIENCE = 120.0
Rows = list[list[float]]


def _same(*names: str) -> tuple[str, ...]:
    """As we have them, so that everybody runs the same model code."""
    return tuple(f"{name}=={version(name)}" for name in names)


def _mlserver() -> tuple[str, ...]:
    # MLServer 1.7.1's processes and uvloop 0.22 do not go together.
    pinned = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0")
    return (*pinned, *_same("scikit-learn", "onnxruntime", "numpy"))


def _mlserver_mlflow() -> tuple[str, ...]:
    return ("mlserver==1.7.1", "mlserver-mlflow==1.7.1", "uvloop==0.21.0", *_same("scikit-learn", "numpy", "skops"))


def _mlflow() -> tuple[str, ...]:
    return _same("mlflow", "scikit-learn", "numpy", "uvicorn")


@dataclass
class Peer:
    """A server of another project."""

    name: str
    packages: tuple[str, ...]
    #: Writes what it needs into a folder; gives the command that starts it on a port, its parts found beside python.
    prepare: Callable[[Path, Path, int], tuple[str, ...]]
    #: The request, from a port and rows of 30 numbers; and the first row's probability in its answer.
    ask: Callable[[int, Rows], Ask]
    read: Callable[[Any], float]
    ready: str
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    #: Seconds until it was ready.
    started: float = 0.0
    log: Path = field(default_factory=Path)

    def start(self, files: Path) -> None:
        """Install it when it is not there yet, start it, and wait until it is ready.

        Raises:
            RuntimeError: it did not start; says what it said.
        """
        python = install(self.packages)
        self.port = free_ports()
        folder = files / self.name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        command = self.prepare(files, folder, self.port)
        self.log = folder / "out.log"
        path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        env = {**plain_environment(), "PATH": path, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
        began = time.monotonic()
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                (str(python.parent / command[0]), *command[1:]),
                env=env,
                cwd=folder,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - began > _PATIENCE:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        self.started = time.monotonic() - began

    def stop(self) -> None:
        """End it and all it started."""
        if self.process is not None:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pids(self) -> list[int]:
        """All its processes."""
        return tree(self.process.pid) if self.process else []

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{HOST}:{self.port}{self.ready}", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def install(packages: tuple[str, ...]) -> Path:
    """An environment with exactly these; gives its python. What was installed before is used again.

    Raises:
        RuntimeError: they cannot be installed; says why.
    """
    key = hashlib.sha256("\n".join((sys.version, *packages)).encode()).hexdigest()[:12]
    folder = CACHE / f"{packages[0].replace('==', '-')}-{key}"
    python = folder / "bin" / "python"
    if (folder / "installed").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"· installing {packages[0]} into {folder}", flush=True)
    subprocess.run((sys.executable, "-m", "venv", folder), check=True)
    if UV.exists():
        command, env = (UV, "pip", "install", "--python", python, *packages), uv_environment()
    else:
        command, env = (python, "-m", "pip", "install", *packages), None
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{packages[0]} could not be installed:\n{done.stderr[-2000:]}")
    (folder / "installed").touch()
    return python


def peers() -> list[Peer]:
    """MLServer with each of its two ways to run the model, and MLflow's own server."""
    return [
        Peer(
            name="MLServer ONNX",
            packages=_mlserver(),
            prepare=lambda files, folder, port: _serve(folder, port, "ort_runtime.OrtRuntime", files / "model.onnx"),
            ask=lambda port, rows: _oip(port, oip_rows(rows)),
            read=lambda answer: float(answer["outputs"][0]["data"][1]),
            ready="/v2/health/ready",
        ),
        Peer(
            name="MLServer sklearn",
            packages=_mlserver(),
            prepare=lambda files, folder, port: _serve(
                folder, port, "mlserver_sklearn.SKLearnModel", files / "model.joblib"
            ),
            ask=lambda port, rows: _oip(port, oip_rows(rows) | {"outputs": [{"name": "predict_proba"}]}),
            read=lambda answer: float(answer["outputs"][0]["data"][1]),
            ready="/v2/health/ready",
        ),
        Peer(
            name="mlflow models serve",
            packages=_mlflow(),
            prepare=lambda files, folder, port: _mlflow_serve(files / "mlflow", port),
            ask=lambda port, rows: Ask(url=f"http://{HOST}:{port}/invocations", body=json.dumps({"inputs": rows})),
            read=lambda answer: float(answer["predictions"][0][1]),
            ready="/ping",
        ),
    ]


def pyfunc_peer(names: Sequence[str]) -> Peer:
    """MLServer with a logged MLflow model that takes a table with these columns and answers probabilities."""
    return Peer(
        name="MLServer pyfunc",
        packages=_mlserver_mlflow(),
        prepare=lambda files, folder, port: _serve(folder, port, "mlserver_mlflow.MLflowRuntime", files / "pyfunc"),
        ask=lambda port, rows: _oip(port, oip_columns(rows, names) | {"parameters": {"content_type": "pd"}}),
        read=lambda answer: float(answer["outputs"][0]["data"][1]),
        ready="/v2/health/ready",
    )


def _serve(folder: Path, port: int, implementation: str, file: Path) -> tuple[str, ...]:
    settings: dict[str, Any] = {
        # In its own process: the way in which it is fastest with small models.
        "parallel_workers": 0,
        "host": HOST,
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": free_ports(),
        "debug": False,
    }
    model = {"name": "biopsy", "implementation": implementation, "parameters": {"uri": str(file), "version": "1"}}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return ("mlserver", "start", str(folder))


def _mlflow_serve(model: Path, port: int) -> tuple[str, ...]:
    words = ("models", "serve", "--model-uri", str(model), "--env-manager", "local", "--host", HOST)
    return ("mlflow", *words, "--port", str(port), "--workers", "1")


def _oip(port: int, body: dict[str, Any]) -> Ask:
    return Ask(url=f"http://{HOST}:{port}/v2/models/biopsy/infer", body=json.dumps(body))


def oip_body(row: list[float]) -> dict[str, Any]:
    """One row as an Open Inference Protocol request."""
    return oip_rows([row])


def oip_rows(rows: Rows) -> dict[str, Any]:
    """Rows as an Open Inference Protocol request with one matrix."""
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": flat}]}


def oip_columns(rows: Rows, names: Sequence[str]) -> dict[str, Any]:
    """The same with one tensor a column, as a table goes over the wire."""
    columns = zip(names, zip(*rows, strict=True), strict=True)
    shape = [len(rows), 1]
    return {"inputs": [{"name": n, "shape": shape, "datatype": "FP64", "data": list(c)} for n, c in columns]}
