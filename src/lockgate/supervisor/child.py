"""One child process: how it is started, looked at and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lockgate.supervisor.guard import signalled
from lockgate.supervisor.ports import listener
from lockgate.supervisor.readiness import Check

#: A log longer than this is put aside when its child starts.
_LOG_LIMIT = 20 * 1024 * 1024

#: Tell a child the descriptor of its listening socket, for HTTP and for gRPC.
LISTENER = "LOCKGATE_GATEWAY_FD"
GRPC_LISTENER = "LOCKGATE_GATEWAY_GRPC_FD"


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to run, and how to see that it runs."""

    name: str
    argv: tuple[str, ...]
    ready: Check
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Children that have to be ready before this one is started for the first time.
    after: tuple[str, ...] = ()
    #: Children with a lower number are stopped, and gone, before others are asked to stop.
    stop_turn: int = 1
    #: Seconds it gets to stop by itself.
    stop_seconds: float = 10.0
    #: Added to its niceness, so that its start does not slow the others'.
    nice: int = 0
    #: Whether the platform counts as ready only with this one.
    awaited: bool = True
    #: Removed before each start, so that it speaks of the new process when it appears.
    ready_file: Path | None = None
    #: Host and port of listening sockets that outlive it, by the variable that tells it the descriptor: who connects
    #: while it restarts waits, and is not refused.
    listen: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    #: Seconds between its first death and its next start.
    first_pause: float = 1.0


class Child:
    """A child and its history."""

    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.listeners: dict[str, socket.socket] = {}
        self.ready = False
        self.was_ready = False
        self.restarts = 0
        #: Deaths in a row, each after less than a minute: what back-off counts.
        self.deaths = 0
        #: Seconds on the supervisor's clock.
        self.started_at = 0.0
        self.start_again_at = 0.0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self, now: float) -> int:
        """Start it in a process group of its own; gives the group."""
        self._put_long_log_aside()
        if self.spec.ready_file is not None:
            self.spec.ready_file.unlink(missing_ok=True)
        env = {**os.environ, **self.spec.env}
        for name, address in self.spec.listen.items():
            if name not in self.listeners:
                self.listeners[name] = listener(*address)
            env[name] = str(self.listeners[name].fileno())
        passed = tuple(kept.fileno() for kept in self.listeners.values())
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.process = subprocess.Popen(
                self.spec.argv,
                env=env,
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                process_group=0,
            )
        finally:
            os.close(descriptor)
        if self.spec.nice:
            niceness = os.getpriority(os.PRIO_PROCESS, 0) + self.spec.nice
            os.setpriority(os.PRIO_PROCESS, self.process.pid, niceness)
        self.ready, self.started_at = False, now
        return self.process.pid

    def death(self) -> int | None:
        """How it ended, as `subprocess` counts; None while it lives, or has not been started."""
        return self.process.poll() if self.process else None

    def ask_to_stop(self) -> None:
        """SIGTERM to its whole group."""
        if self.process and self.process.poll() is None:
            signalled(self.process.pid, signal.SIGTERM)

    def end(self) -> None:
        """SIGKILL to its whole group, what it started itself included."""
        if self.process:
            signalled(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop_listening(self) -> None:
        """Let go of its sockets, and of those who wait there."""
        for kept in self.listeners.values():
            kept.close()
        self.listeners.clear()

    def last_line(self) -> str:
        """The end of its log, to say why it died without sending anybody to a file."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def _put_long_log_aside(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"stopped with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
