"""What no model has been run from for long, and how whoever runs one keeps it."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

#: Seconds after which a folder that nobody used is removed: a version that comes back by then finds it.
_LONG = 14 * 86400.0
_LEAVING = "leaving-"


def used(place: Path) -> None:
    """Somebody needs this folder now."""
    with suppress(OSError):
        os.utime(place)


def hold(place: Path) -> int:
    """Keep a folder for as long as the descriptor is open; -1 when it is not there."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def remove_unused(root: Path, now: float) -> list[str]:
    """Remove the folders under ``root`` that nobody holds, and that nobody used for fourteen days.

    Args:
        root: where they are; it need not exist.
        now: Unix seconds.

    Returns:
        Their names.
    """
    removed: list[str] = []
    for place in sorted(root.glob("*")):
        if not place.is_dir() or place.is_symlink():
            continue
        if place.name.startswith(_LEAVING):
            remove(place)
        elif now - place.stat().st_mtime > _LONG and _moved_away(place):
            removed.append(place.name)
    return removed


def _moved_away(place: Path) -> bool:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A name that nobody looks for, at once: who comes while it is being removed makes it anew.
        leaving = place.with_name(_LEAVING + place.name)
        place.chmod(0o755)
        place.rename(leaving)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    remove(leaving)
    return True


def remove(folder: Path) -> None:
    """A folder, also one that is read-only all over."""
    for place, _, _ in os.walk(folder):
        Path(place).chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
