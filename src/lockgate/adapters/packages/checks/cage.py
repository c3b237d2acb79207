"""A process for somebody's own checks: without network, within limits, and gone with all its children afterwards."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_UNSHARE = ("unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much a cage may use."""

    #: Bytes of address space of each of its processes.
    memory: int = 4 << 30
    #: Seconds of processor time of each.
    cpu_seconds: int = 600
    #: Bytes of any file it writes.
    file_size: int = 64 << 20
    #: Processes of this user; no bound for root, whose children end with the cage all the same.
    processes: int = 1024


class Cage:
    """One process, and the socket it is spoken to by."""

    def __init__(self, arguments: Sequence[str], folder: Path, bounds: Bounds, *, network: bool) -> None:
        """Start ``python ARGUMENTS… FD`` in ``folder``; ``network``: whether it may have any."""
        self.wire, theirs = socket.socketpair()
        #: Whether it can reach nobody.
        self.closed = not network and can_close()
        command = [*_wrapped(network), sys.executable, "-B", *arguments, str(theirs.fileno())]
        environ = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TZ") if name in os.environ}
        told = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environ | told | threads,
                stdin=subprocess.DEVNULL,
                # What it prints is nobody's: a test that fails says why by its assertion.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                preexec_fn=lambda: _bound(bounds),
            )
        finally:
            theirs.close()

    def ending(self) -> str:
        """How it ended, in words; waits a moment for it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        if code is None:
            return "it still runs"
        number = -code if code < 0 else code - 128
        names = {each.value: each.name for each in signal.Signals}
        return names.get(number, f"signal {number}") if code < 0 or code > 128 else f"code {code}"

    def close(self) -> None:
        """End it, and all that it started."""
        self.wire.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@cache
def can_close() -> bool:
    """Whether this machine lets us take the network from a process."""
    return _works((*_UNSHARE, "--net"))


@cache
def _can_hold() -> bool:
    return _works(_UNSHARE)


def _works(command: Sequence[str]) -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run((*command, "true"), capture_output=True, check=False, timeout=30).returncode == 0


def _wrapped(network: bool) -> tuple[str, ...]:
    if not network and can_close():
        return (*_UNSHARE, "--net")
    return _UNSHARE if _can_hold() else ()


def _bound(bounds: Bounds) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, bounds.memory),
        (resource.RLIMIT_CPU, bounds.cpu_seconds),
        (resource.RLIMIT_FSIZE, bounds.file_size),
        (resource.RLIMIT_NPROC, bounds.processes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
