"""How much of the machine one job may use, and how an end by such a limit is told from others."""

from __future__ import annotations

import resource
import signal
from dataclasses import dataclass

#: Seconds of processor time between the signal that says why and the one that ends it.
_CPU_GRACE = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of one attempt at one job."""

    #: Address space, in bytes; libraries reserve much more than they use, so be generous.
    memory: int = 8 * 2**30
    #: Seconds of processor time.
    cpu_seconds: int = 3600
    #: Seconds on the wall clock.
    wall_seconds: float = 1800.0
    #: Size of any file it writes, in bytes.
    file_size: int = 4 * 2**30


def apply(limits: Limits) -> None:
    """Hold this process, and what it starts, to the limits. There is no way back."""
    for kind, soft, hard in (
        (resource.RLIMIT_AS, limits.memory, limits.memory),
        # The signal at the soft limit names the reason; the one at the hard limit a little later cannot be caught.
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + _CPU_GRACE),
        (resource.RLIMIT_FSIZE, limits.file_size, limits.file_size),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        _, before = resource.getrlimit(kind)
        most = hard if before == resource.RLIM_INFINITY else min(hard, before)
        resource.setrlimit(kind, (min(soft, most), most))


def reason_of(code: int, limits: Limits) -> str:
    """Why a child that said nothing ended, from its return code as `subprocess` counts it."""
    if code >= 0:
        return f"its process ended with code {code} and without a result"
    if -code == signal.SIGXCPU:
        return f"it used more than {limits.cpu_seconds} s of processor time"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL:
        return f"its process was ended by {name}: the machine may be out of memory"
    return f"its process was ended by {name}: native code crashed, or found no memory under its limit"
