"""Appends frames to segments: one write per call, synced by group, sealed by age or size.

A segment is ``<seq>.open`` while its writer holds a lock on it, and ``<seq>.seg`` afterwards. Bytes are in the kernel
before `flush` returns, so they outlive a killed process; `sync`, called from another thread, makes them outlive the
machine.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lockgate.adapters.segments.frames import MAGIC, Record, Schema, frame


@dataclass(slots=True)
class _Open:
    fd: int
    path: Path
    #: Length up to which every frame is whole.
    size: int
    since: float


class SegmentWriter:
    """The one writer of a source's folder."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 8 << 20,
        max_age: float = 5.0,
        retry_after: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._retry_after = retry_after
        self._clock = clock
        self._seq = 0
        self._current: _Open | None = None
        self._described: set[str] = set()
        self._pending: list[tuple[Schema, bytes]] = []
        self._retired: deque[_Open] = deque()
        self._syncing = threading.Lock()
        self._dirty = False
        self._broken_until = 0.0
        #: A segment whose sync failed.
        self._unsound: _Open | None = None
        #: Records written, and records given up because the disk did not take them.
        self.written = 0
        self.dropped = 0
        self.sync_failures = 0
        #: What the disk said last, empty while it is well.
        self.trouble = ""

    def append(self, schema: Schema, record: Record) -> None:
        """Put a record into the next `flush`."""
        self._pending.append((schema, frame(record)))

    def flush(self) -> bool:
        """Write what was appended. False when the disk refused: the records are dropped and counted, no more."""
        pending = self._pending
        if not pending:
            return True
        self._pending = []
        now = self._clock()
        if now < self._broken_until:
            self.dropped += len(pending)
            return False
        try:
            self._write(pending, now)
        except OSError as error:
            self._give_up(error, now)
            self.dropped += len(pending)
            return False
        self.written += len(pending)
        self.trouble = ""
        return True

    def tidy(self) -> None:
        """Seal the segment if it is old enough, or if the disk failed to keep it."""
        current = self._current
        if current is None:
            return
        if current is self._unsound or self._clock() - current.since >= self._max_age:
            self._retire()

    def needs_sync(self) -> bool:
        """Whether `sync` has something to do."""
        return self._dirty or bool(self._retired)

    def sync(self) -> None:
        """Bring all to the disk and finish sealed segments. May run in other threads."""
        # A worker that stops closes the log while a sync may still be under way.
        with self._syncing:
            self._sync()

    def close(self) -> None:
        """Write, sync and seal everything."""
        self.flush()
        self._retire()
        self.sync()

    def _sync(self) -> None:
        self._dirty = False
        current = self._current
        if current is not None and not self._synced(current.fd):
            # The kernel may have dropped the pages and forgotten: a second fsync would prove nothing.
            self._broken_until = self._clock() + self._retry_after
            # Only marked: it is retired, and so closed, by the thread that writes, which may be about to.
            self._unsound = current
        while self._retired:
            self._finish(self._retired.popleft())

    def _write(self, pending: list[tuple[Schema, bytes]], now: float) -> None:
        current = self._current or self._begin(now)
        parts: list[bytes] = []
        new: set[str] = set()
        for schema, data in pending:
            if schema.version not in self._described and schema.version not in new:
                new.add(schema.version)
                parts.append(frame(schema))
            parts.append(data)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        wrote = os.write(current.fd, data)
        while wrote < len(data):
            wrote += os.write(current.fd, data[wrote:])
        current.size += len(data)
        self._described |= new
        self._dirty = True
        if current.size >= self._max_bytes:
            self._retire()

    def _begin(self, now: float) -> _Open:
        path = self._folder / f"{self._seq:012d}.open"
        fresh = path.with_suffix(".new")
        try:
            fd = self._created(fresh)
        except FileNotFoundError:
            # A reader has removed the folder at that very moment, empty as it was.
            fd = self._created(fresh)
        try:
            # Locked before it gets the name readers look for, so that none takes it for a dead writer's.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, MAGIC)
            fresh.rename(path)
        except OSError:
            os.close(fd)
            raise
        self._seq += 1
        self._described = set()
        self._current = _Open(fd, path, len(MAGIC), now)
        return self._current

    def _created(self, path: Path) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _give_up(self, error: OSError, now: float) -> None:
        self.trouble = error.strerror or str(error)
        self._broken_until = now + self._retry_after
        current = self._current
        if current is None:
            return
        try:
            os.ftruncate(current.fd, current.size)
        except OSError:
            # The reader leaves a torn tail out, so the segment is good as far as it goes.
            self._retire()

    def _retire(self) -> None:
        if self._current is not None:
            self._retired.append(self._current)
            self._current = None

    def _finish(self, segment: _Open) -> None:
        self._synced(segment.fd)
        try:
            if segment.size > len(MAGIC):
                segment.path.rename(segment.path.with_suffix(".seg"))
            else:
                segment.path.unlink()
        except OSError as error:
            # Still whole: whoever finds it without its writer's lock seals it.
            self.trouble = error.strerror or str(error)
        os.close(segment.fd)

    def _synced(self, fd: int) -> bool:
        try:
            os.fdatasync(fd)
        except OSError as error:
            self.sync_failures += 1
            self.trouble = error.strerror or str(error)
            return False
        return True
