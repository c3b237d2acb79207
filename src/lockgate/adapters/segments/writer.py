"""Appends frames to segments: one write per call, synced by group, sealed by age or size.

A segment is ``<seq>.open`` while its writer holds a lock on it, and ``<seq>.seg`` afterwards. Bytes are in the kernel
before `flush` returns, so they outlive a killed process; `sync`, called from another thread, makes them outlive the
machine. A segment whose sync failed takes no more, and is never synced again: the kernel may have dropped its pages and
forgotten, so a second success would prove nothing.
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

from lockgate.adapters.segments.frames import MAGIC, Batch, Record, Schema, frame


@dataclass(slots=True)
class _Open:
    fd: int
    path: Path
    #: Length up to which every frame is whole.
    size: int
    since: float
    #: Whether its name is on the disk as well.
    named: bool = False
    #: Whether no sync of it has failed.
    sound: bool = True


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
        #: What the current segment says of each version.
        self._described: dict[str, Schema] = {}
        self._pending: list[tuple[Schema, bytes]] = []
        self._pending_requests = 0
        self._pending_bytes = 0
        self._retired: deque[_Open] = deque()
        self._syncing = threading.Lock()
        self._dirty = False
        self._broken_until = 0.0
        #: Requests written, and requests given up because the disk did not take them.
        self.written = 0
        self.dropped = 0
        self.sync_failures = 0
        #: How many syncs had failed when the last `flush` began. What it wrote is on the disk once a `sync` that began
        #: later has ended and the number is still the same.
        self.mark = 0
        #: Bytes that may be written before somebody carries segments away; None for as many as the disk takes.
        self.room: int | None = None
        #: What the disk said last, empty while it is well.
        self.trouble = ""

    def append(self, schema: Schema, entry: Record | Batch, requests: int = 1) -> None:
        """Put an entry of so many requests into the next `flush`."""
        data = frame(entry)
        self._pending.append((schema, data))
        self._pending_requests += requests
        self._pending_bytes += len(data)

    def flush(self) -> bool:
        """Write what was appended. False when the disk refused: the requests are dropped and counted, no more."""
        pending = self._pending
        if not pending:
            return True
        # First of all: a failure that comes later concerns what is written here.
        self.mark = self.sync_failures
        requests, self._pending_requests = self._pending_requests, 0
        size, self._pending_bytes = self._pending_bytes, 0
        self._pending = []
        now = self._clock()
        if now < self._broken_until or not self._fits(size):
            self.dropped += requests
            return False
        try:
            self._write(pending, now)
        except OSError as error:
            self._give_up(error, now)
            self.dropped += requests
            return False
        self.written += requests
        self.trouble = ""
        return True

    def _fits(self, size: int) -> bool:
        if self.room is None:
            return True
        if size > self.room:
            self.trouble = "the log is as large as it may be: nobody carries its segments away"
            return False
        self.room -= size
        return True

    def tidy(self) -> None:
        """Seal the segment if it is old enough, or if the disk failed to keep it."""
        current = self._current
        if current is None:
            return
        if not current.sound or self._clock() - current.since >= self._max_age:
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
        if self._current is not None:
            self._keep(self._current)
        while self._retired:
            self._finish(self._retired.popleft())

    def _write(self, pending: list[tuple[Schema, bytes]], now: float) -> None:
        if self._current is not None and not self._current.sound:
            self._retire()
        current = self._current or self._begin(now)
        parts: list[bytes] = []
        described = self._described
        for schema, data in pending:
            # By identity: whoever appends keeps one schema for as long as it holds.
            if described.get(schema.version) is not schema:
                # A copy: it is not in the file yet.
                described = described | {schema.version: schema}
                parts.append(frame(schema))
            parts.append(data)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        wrote = os.write(current.fd, data)
        while wrote < len(data):
            wrote += os.write(current.fd, data[wrote:])
        current.size += len(data)
        self._described = described
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
        self._described = {}
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
        self._keep(segment)
        try:
            if segment.size > len(MAGIC):
                segment.path.rename(segment.path.with_suffix(".seg"))
            else:
                segment.path.unlink()
        except OSError as error:
            # Still whole: whoever finds it without its writer's lock seals it.
            self.trouble = error.strerror or str(error)
        os.close(segment.fd)

    def _keep(self, segment: _Open) -> None:
        """Bring a segment to the disk, once: after a failure it is only marked. The thread that writes retires it."""
        if not segment.sound:
            return
        try:
            os.fdatasync(segment.fd)
            if not segment.named:
                for folder in (self._folder, self._folder.parent):
                    _sync_folder(folder)
                segment.named = True
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._broken_until = self._clock() + self._retry_after
            segment.sound = False
            # Last: whoever sees the old number has written before the segment was closed to writes.
            self.sync_failures += 1


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
