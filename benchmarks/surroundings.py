"""The machine while something is measured: processes, their memory and processor time, and who else is at work."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
#: Cores that others may use before a figure is marked as noisy.
NOISE = 0.15


def plain_environment() -> dict[str, str]:
    """This environment without settings of Lockgate, and with one thread for each library."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}
    return env | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def describe() -> dict[str, Any]:
    """What a reader has to know about this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "load": os.getloadavg(),
    }


def tree(root: int) -> list[int]:
    """A process and all that came from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Processor time these processes have used, in seconds."""
    used = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def pss_mb(pid: int) -> float:
    """Memory of a process, what it shares counted by its share, in megabytes; 0 when it is gone."""
    return _memory_mb(pid, "Pss:")


def rss_mb(pid: int) -> float:
    """Memory of a process, what it shares counted whole, so that it does not change with who else is there."""
    return _memory_mb(pid, "Rss:")


def _memory_mb(pid: int, word: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(word)), 0.0)


class Watch:
    """Processor time that some processes use from now to `end`, and that everybody else uses meanwhile."""

    def __init__(self, pids: list[int]) -> None:
        self._before = {pid: cpu_seconds([pid]) for pid in pids}
        self._all = _busy()
        self._children = _children_seconds()
        self._at = time.monotonic()

    def end(self, friends: list[int], wanted: list[int] | None = None) -> tuple[float, float]:
        """What was used since.

        Args:
            friends: All that belong to what is measured; they are no noise, nor is our load generator.
            wanted: Those of them whose time is wanted; all when it is None.

        Returns:
            Seconds that the wanted used, and how many cores others held.
        """
        elapsed = time.monotonic() - self._at
        everybody = _busy() - self._all - (_children_seconds() - self._children)
        used = {pid: cpu_seconds([pid]) - self._before.get(pid, 0.0) for pid in friends}
        own = sum(used.get(pid, 0.0) for pid in (friends if wanted is None else wanted))
        return own, max(0.0, (everybody - sum(used.values())) / elapsed)


@contextmanager
def frozen(pids: list[int]) -> Generator[None]:
    """Stop these processes for a while, so that what runs idle takes nothing from what is measured."""
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _busy() -> float:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle, waiting = fields[3], fields[4]
    return (sum(fields[:8]) - idle - waiting) / _TICKS


def _children_seconds() -> float:
    """What this process and the children it has waited for have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
