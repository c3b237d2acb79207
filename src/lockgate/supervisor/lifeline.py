"""The supervisor's end of its guard, and the search for what an earlier supervisor left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lockgate.supervisor import guard

#: In the environment of every child, so that it can be told whose it is.
MARK = "SUPERVISED_BY_LOCKGATE_IN"


class Lifeline:
    """Tells the guard which process groups to end if this process is killed."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._guard = self._start()

    def add(self, group: int) -> None:
        """Have this group ended with us."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def drop(self, group: int) -> None:
        """It ended by itself."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def watch(self) -> None:
        """Start the guard again if somebody ended it."""
        if self._guard.poll() is not None:
            self._guard = self._start()
            for group in self._groups:
                self._tell(f"+{group}\n")

    def close(self) -> None:
        """Send the guard home; it ends what has not been dropped."""
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        argv = (sys.executable, "-I", "-S", str(Path(guard.__file__)))
        return subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)

    def _tell(self, line: str) -> None:
        if self._guard.stdin is None:
            return
        try:
            self._guard.stdin.write(line.encode())
            self._guard.stdin.flush()
        except BrokenPipeError:
            self.watch()


def end_strays(home: Path) -> int:
    """End children of an earlier supervisor of this home that outlived both it and its guard; gives how many.

    Call it with the home's lock held: then every child of this home is a stray. Does nothing without ``/proc``.
    """
    strays = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _belongs(folder, home)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in strays:
            _signal(pid, number)
        deadline = time.monotonic() + 3.0
        while any(map(_alive, strays)) and time.monotonic() < deadline:
            time.sleep(0.05)
    return len(strays)


def _belongs(process: Path, home: Path) -> bool:
    try:
        return f"{MARK}={home}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # gone by now, or somebody else's
        return False


def _alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
