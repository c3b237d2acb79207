"""A platform started as a user starts it, with the times at which its parts were ready."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.surroundings import cpu_seconds, plain_environment, pss_mb, tree
from lockgate.sdk.client import Client

HOST = "127.0.0.1"
_PATIENCE = 180.0


@dataclass
class Platform:
    """A `lockgate up` in a home of its own."""

    home: Path
    workers: int = 1
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    #: Seconds from the command to all but MLflow ready, and to MLflow ready.
    ready: float = 0.0
    mlflow_ready: float = 0.0
    #: Processor time all of it had used when it was ready: what a start costs, however busy the machine is.
    cpu_when_ready: float = 0.0
    #: Seconds to each process's own readiness, by its name.
    parts: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def gateway(self) -> str:
        return f"http://{HOST}:{self.port + 1}"

    @property
    def token(self) -> str:
        return (self.home / "secrets" / "admin-token").read_text(encoding="utf-8").strip()

    def client(self) -> Client:
        """The SDK's client, as the first administrator."""
        return Client(self.url, self.token, gateway=self.gateway)

    def start(self) -> None:
        """Start it and wait for all of it, MLflow's server too.

        Raises:
            RuntimeError: it ended, or was not ready in time.
        """
        self.port = self.port or free_ports()
        self.home.mkdir(parents=True, exist_ok=True)
        out = self.home.with_suffix(".out")
        words = ["up", "--home", str(self.home), "--host", HOST, "--port", str(self.port)]
        self.parts = {}
        self.ready = self.mlflow_ready = 0.0
        (self.home / "run" / "status.json").unlink(missing_ok=True)
        began = time.monotonic()
        with out.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lockgate.cli.main", *words, "--workers", str(self.workers)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=plain_environment(),
                start_new_session=True,
            )
        while not self.mlflow_ready:
            elapsed = time.monotonic() - began
            for name in self._ready_children():
                self.parts.setdefault(name, elapsed)
            text = out.read_text(errors="replace")
            if "ready in" in text and not self.ready:
                self.ready = elapsed
                self.cpu_when_ready = cpu_seconds(self.pids())
            if "mlflow ready" in text:
                self.mlflow_ready = elapsed
            if self.process.poll() is not None or elapsed > _PATIENCE:
                raise RuntimeError(f"the platform did not start:\n{text[-2000:]}")
            time.sleep(0.005)

    def stop(self) -> float:
        """Stop it as Ctrl-C does; gives the seconds it took."""
        began = time.monotonic()
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(90)
            self.process = None
        return time.monotonic() - began

    def children(self) -> list[dict[str, Any]]:
        """Name, pid and state of each process, as the supervisor writes them down."""
        try:
            return json.loads((self.home / "run" / "status.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []

    def pids(self, name: str = "") -> list[int]:
        """All processes of it, or of its parts whose names begin so."""
        if not name:
            return tree(self.process.pid) if self.process else []
        return [pid for child in self.children() if child["name"].startswith(name) for pid in tree(child["pid"])]

    def memory_after(self, seconds: float) -> dict[str, float]:
        """Megabytes of each part, its own children included, when it has been left in peace for a while."""
        time.sleep(seconds)
        found = {child["name"]: sum(map(pss_mb, tree(child["pid"]))) for child in self.children()}
        found["all"] = sum(map(pss_mb, self.pids()))
        return found

    def _ready_children(self) -> list[str]:
        return [str(child["name"]) for child in self.children() if child["state"] == "ready"]


def free_ports() -> int:
    """A free port whose next two are free too."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind((HOST, 0))
            port = int(first.getsockname()[1])
            try:
                for more in (1, 2):
                    held.enter_context(socket.socket()).bind((HOST, port + more))
            except (OSError, OverflowError):
                continue
            return port
