"""The last one to leave: ends the children when their supervisor was killed and could not.

A script of its own, run without site packages, in a session of its own. It reads ``+group`` and ``-group`` lines from
the supervisor; the end of that pipe is the supervisor's end, whatever caused it, and what is left is ended then.
"""

from __future__ import annotations

import os
import signal
import sys
import time

#: Seconds between asking a group to stop and ending it.
GRACE = 10.0


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end(groups)


def end(groups: set[int]) -> None:
    """Ask each group to stop, wait, and kill what has not."""
    left = {group for group in groups if signalled(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if signalled(group, 0)}
    for group in left:
        signalled(group, signal.SIGKILL)


def signalled(group: int, number: int) -> bool:
    """Send a signal to a process group; False when it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
