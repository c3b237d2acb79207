"""Reads what gateways logged: finds sealed segments, adopts those of dead writers, gives their rows back."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from lockgate.adapters.segments.frames import MAGIC, Scan, Schema
from lockgate.adapters.segments.rows import Gathering
from lockgate.base.errors import CorruptArtifact
from lockgate.domain.monitoring.logged import LoggedSegment


class SegmentFolder:
    """The `SegmentStore` over a folder of sources."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sealed(self) -> list[tuple[str, int, Path]]:
        """Source, sequence and place of each segment that no gateway writes any more, oldest first per source."""
        if not self._root.is_dir():
            return []
        found: list[tuple[str, int, Path]] = []
        for folder in sorted(path for path in self._root.iterdir() if path.is_dir()):
            for leftover in folder.glob("*.open"):
                _adopt(leftover)
            found += [(folder.name, int(path.stem), path) for path in sorted(folder.glob("*.seg"))]
        return found

    def size(self) -> int:
        """Bytes of all segments that wait to be carried away, those that are still written among them."""
        total = 0
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            # Segments and whole folders may be carried away meanwhile.
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith((".seg", ".open")):
                        with suppress(OSError):
                            total += entry.stat().st_size
        return total

    def damaged(self) -> int:
        """How many were set aside for a person to look at."""
        return sum(1 for _ in self._root.glob("*/*.bad"))

    def read(self, path: Path) -> LoggedSegment:
        """Its rows. What is torn or damaged is left out, and what that was is said.

        Raises:
            CorruptArtifact: a record has no schema before it, its values do not fit the schema, or it is of an unknown
                kind.
        """
        scan = Scan(path.read_bytes())
        current: dict[str, Gathering] = {}
        gatherings: list[Gathering] = []
        orphans = 0
        for entry in scan:
            if isinstance(entry, Schema):
                current[entry.version] = Gathering(entry)
                gatherings.append(current[entry.version])
            elif entry.version in current:
                current[entry.version].add(entry)
            elif scan.damaged:
                # The schema was most likely what was damaged.
                orphans += 1
            else:
                raise CorruptArtifact(f"{path.name} has a record of {entry.version} but not its schema")
        rows = tuple(rows for gathering in gatherings for rows in gathering.rows())
        if not scan.torn and not scan.damaged:
            return LoggedSegment(rows=rows)
        lost = f"{scan.torn} bytes torn off, {scan.damaged} frames damaged, {orphans} without their schema"
        return LoggedSegment(rows=rows, damage=lost)

    def remove(self, path: Path) -> None:
        """Drop a segment, and its folder when that is empty now."""
        path.unlink(missing_ok=True)
        try:
            path.parent.rmdir()
        except OSError:
            # Not empty: its gateway lives, or has more segments to take. A writer makes its folder anew.
            return

    def set_aside(self, path: Path) -> Path:
        """Keep a segment that cannot be read, or not wholly, under a name that `sealed` passes by."""
        return path.rename(path.with_suffix(".bad"))


def _adopt(path: Path) -> None:
    """Seal a segment whose writer is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_size <= len(MAGIC):
            path.unlink(missing_ok=True)
        else:
            os.fsync(fd)
            path.rename(path.with_suffix(".seg"))
    except (BlockingIOError, FileNotFoundError):
        # Its writer lives, or sealed it between our look and our lock.
        return
    finally:
        os.close(fd)
