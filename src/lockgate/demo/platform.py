"""The platform of the story: `lockgate up` as a child process, in a home of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lockgate.base.errors import LockgateError
from lockgate.demo.child import NotHappened
from lockgate.supervisor.home import Home
from lockgate.supervisor.platform import MLFLOW
from lockgate.supervisor.ports import check_free
from lockgate.supervisor.up import down, status

HOST = "127.0.0.1"
#: Where `lockgate up` is by itself, and so where people look first.
_USUAL_PORT = 8400
_PATIENCE = 90.0  # seconds
_LOOK = 0.1


class Platform:
    """Starts it, waits for it, and stops it again."""

    def __init__(self, home: Path) -> None:
        self.home = Home(root=home)
        self.port = _free_port()
        #: What `lockgate up` said.
        self.log = home / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def gateway_port(self) -> int:
        return self.port + 1

    @property
    def gateway(self) -> str:
        return f"http://{HOST}:{self.gateway_port}"

    @property
    def admin_token(self) -> str:
        return self.home.admin_token.read_text(encoding="utf-8").strip()

    def start(self) -> None:
        """Start it; a Ctrl-C in this terminal does not reach it."""
        command = [sys.executable, "-m", "lockgate.cli.main", "up", "--host", HOST]
        command += ["--home", str(self.home.root), "--port", str(self.port)]
        # Settings of another platform, its database first of all, are not this one's.
        env = {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self, tell: Callable[[str], None]) -> None:
        """Until all but MLflow answer.

        Raises:
            NotHappened: it ended, or is not ready in time; says why.
        """
        self._wait(lambda name: name != MLFLOW, tell)

    def wait_for_mlflow(self, tell: Callable[[str], None]) -> None:
        """Until MLflow answers; raises as `wait_until_ready`."""
        self._wait(lambda name: name == MLFLOW, tell)

    def stop(self) -> None:
        """Stop all of it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            down(self.home)
            self._process.wait()

    def _wait(self, wanted: Callable[[str], bool], tell: Callable[[str], None]) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                raise NotHappened(f"the platform ended: {self._last_words()}")
            found = status(self.home)
            children = [child for child in (found[1] if found else []) if wanted(str(child["name"]))]
            missing = [str(child["name"]) for child in children if child["state"] != "ready"]
            if children and not missing:
                return
            tell("waiting for " + (", ".join(missing) or "the first process"))
            time.sleep(_LOOK)
        raise NotHappened(f"the platform is not ready after {_PATIENCE:.0f} s; see {self.home.logs}")

    def _last_words(self) -> str:
        said = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return f"{said[-600:] or 'it said nothing'} (logs: {self.home.logs})"


def _free_port() -> int:
    """The usual port, or one that is free together with the next two."""
    for _ in range(100):
        port = _USUAL_PORT if _ == 0 else _any_port()
        try:
            check_free(HOST, port, what="pages and API")
            check_free(HOST, port + 1, what="predictions")
            check_free(HOST, port + 2, what="predictions by gRPC")
        except LockgateError:
            continue
        return port
    raise NotHappened("no three free ports follow each other on this machine")


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return min(int(probe.getsockname()[1]), 65_533)
