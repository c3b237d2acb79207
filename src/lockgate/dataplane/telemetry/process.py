"""What the operating system says of this process, under the names that every Prometheus dashboard knows."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator

from lockgate.dataplane.telemetry.snapshot import Family

#: Counting descriptors takes a look at each of them.
_LOOK_AFTER = 5.0


def _family(name: str, kind: str, told: str, unit: str = "") -> Family:
    return Family(name, kind, told, ("worker",), unit, alive=True)


_CPU = _family("process_cpu_seconds_total", "counter", "Processor time used, in seconds.", "seconds")
_MEMORY = _family("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", "bytes")
_START = _family("process_start_time_seconds", "gauge", "When it started, in seconds since 1970.", "seconds")
_OPEN = _family("process_open_fds", "gauge", "Open file descriptors.")
_MOST = _family("process_max_fds", "gauge", "Most file descriptors it may open.")


class Process:
    """Reads them. What this system does not tell is left out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # The interpreter took a moment before this; nobody needs it more exactly.
        self._started = clock()
        self._looked = 0.0
        self._open = 0

    def numbers(self) -> Iterator[tuple[Family, float]]:
        """Each with its value."""
        yield _CPU, round(time.process_time(), 3)
        yield _START, round(self._started, 3)
        yield _MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            with open("/proc/self/statm", "rb") as file:
                yield _MEMORY, int(file.read().split()[1]) * resource.getpagesize()
            if self._clock() - self._looked > _LOOK_AFTER:
                self._looked = self._clock()
                self._open = len(os.listdir("/proc/self/fd"))
            yield _OPEN, self._open
        except OSError:
            return
