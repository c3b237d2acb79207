"""A whole platform in a home of its own, started as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from lockgate.sdk.client import Client


@dataclass
class Platform:
    """A running `lockgate up`."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    @property
    def admin_token(self) -> str:
        return (self.home / "secrets" / "admin-token").read_text(encoding="utf-8").strip()

    def client(self, token: str = "") -> Client:
        return Client(self.url, token or self.admin_token, gateway=self.gateway)

    def somebody(self, name: str, *roles: str) -> str:
        """The token of a new person with these roles."""
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        with self.client() as admin:
            admin.add_person(name, list(roles), reason="for a test")
            return admin.issue_token(name, purpose="testing", expires_at=tomorrow)["token"]

    def children(self) -> dict[str, int]:
        """The process ids of its children that are ready, by name."""
        told: list[dict[str, Any]] = json.loads((self.home / "run" / "status.json").read_text(encoding="utf-8"))
        return {child["name"]: child["pid"] for child in told if child["state"] == "ready"}

    def wait_for(self, path: str, seconds: float) -> None:
        """Wait until a page of the control plane answers 200 to the administrator."""
        give_up = time.monotonic() + seconds
        headers = {"authorization": f"Bearer {self.admin_token}"}
        while True:
            try:
                if httpx.get(self.url + path, headers=headers, timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                assert self.process.poll() is None, "the platform ended while it was waited for"
            assert time.monotonic() < give_up, f"{path} did not answer within {seconds} s"
            time.sleep(0.1)

    def mlflow(self, token: str, *words: str) -> dict[str, Any]:
        """What the ordinary MLflow client says, asked as somebody."""
        told = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.e2e.mlflow_client", *words],
            env={**_plain(), "MLFLOW_TRACKING_URI": f"{self.url}/mlflow", "MLFLOW_TRACKING_TOKEN": token},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return json.loads(told.stdout.splitlines()[-1])

    def stop(self) -> int:
        """Ask it to stop and wait; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}


def start(home: Path, port: int, log: Path, *, workers: int = 1, awaited: str = "mlflow ready") -> Platform:
    """Start a platform and wait until all of it, MLflow's server too, is ready, or until its log says ``awaited``."""
    arguments = ["up", "--home", str(home), "--port", str(port), "--workers", str(workers)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lockgate.cli.main", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=_plain(),
        )
    platform = Platform(home=home, port=port, process=process)
    try:
        give_up = time.monotonic() + 240
        while awaited.encode() not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
    except AssertionError:
        platform.stop()
        raise
    return platform
