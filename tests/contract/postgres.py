"""A PostgreSQL server of the tests' own, from the Debian package, gone when they are over."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

INSTALL = "apt-get install -y postgresql"


@dataclass
class Server:
    """A running server that makes databases."""

    binaries: Path
    folder: Path
    process: subprocess.Popen[Any] | None = None
    _names: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def make(self, template: str = "template1") -> str:
        """A fresh database, or a copy of one that nobody is connected to; gives its name."""
        name = f"t{next(self._names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    def start(self) -> None:
        """Start it, over a socket in its own folder and no port."""
        quick = ["-c", "fsync=off", "-c", "listen_addresses=", "-c", "max_connections=200"]
        command = [self.binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, *quick]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **_user())
        self.process = process
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up and process.poll() is None:
            with suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres")):
                return
            time.sleep(0.05)
        pytest.fail(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it; SIGQUIT is its own word for at once, without tidying up."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None


@contextmanager
def running_server() -> Generator[Server]:
    """A server for the length of the block."""
    folder = Path(tempfile.mkdtemp(prefix="lgpg", dir=_memory()))
    try:
        server = Server(binaries=_binaries(), folder=folder)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        make = [server.binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N"]
        made = subprocess.run([*make, "-E", "UTF8", "--locale=C"], capture_output=True, check=False, **_user())
        if made.returncode:
            pytest.fail(f"initdb failed:\n{made.stderr.decode()}")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    pytest.fail(f"these tests need PostgreSQL; install it with: {INSTALL}")


def _memory() -> str | None:
    # A database a test is a lot of writing; in memory it does not wait for a disk that others use.
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 1 << 30
    return str(shared) if roomy else None


def _user() -> dict[str, Any]:
    # The server refuses to run as root.
    if os.geteuid() != 0:
        return {}
    try:
        known = pwd.getpwnam("postgres")
    except KeyError:
        pytest.fail(f"these tests need the user postgres; install it with: {INSTALL}")
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": [], "cwd": "/"}
