"""One supervisor a home: a file lock that the kernel lets go of when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lockgate.base.errors import Exists

#: How often a taken lock is tried again: `who_runs` holds it for an instant, too.
_LOOKS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """The platform that runs in a home."""

    pid: int
    url: str
    #: Where predictions are asked for.
    gateway: str


@contextmanager
def hold(path: Path, running: Running) -> Generator[None]:
    """Hold the home's lock for the length of the block.

    Raises:
        Exists: another supervisor has it; names its process and address.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            _take(descriptor)
        except BlockingIOError as error:
            other = _read(descriptor)
            who = f" as process {other.pid}, at {other.url}" if other else ""
            raise Exists(
                f"lockgate is already running in {path.parent.parent}{who}",
                hint="use that one, stop it with `lockgate down`, or choose another --home",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(running)).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def who_runs(path: Path) -> Running | None:
    """Who holds the home's lock; None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    """Take the lock; raises BlockingIOError when somebody keeps it, and does not merely look whether it is free."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read(descriptor: int) -> Running | None:
    # Empty for the instant between taking the lock and writing the name.
    text = os.pread(descriptor, 4096, 0)
    try:
        known: dict[str, Any] = json.loads(text)
        return Running(**known)
    except (ValueError, TypeError):
        return None
