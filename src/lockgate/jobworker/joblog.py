"""What a job's process printed, kept in a file, and not more of it than is any use."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)

#: Bytes kept of one attempt.
LIMIT = 4 * 2**20


class JobLog:
    """Appends to a file up to `LIMIT`, and hands on what has not been shown yet."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = path.open("ab", buffering=0)
        self._left = LIMIT
        self._unseen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, printed: bytes) -> None:
        """Take what was printed; beyond the limit it is dropped, and that is said once."""
        if not printed or self._left <= 0:
            return
        kept = printed[: self._left]
        self._left -= len(kept)
        if self._left <= 0:
            kept += f"\n... the rest is not kept: a job may print {LIMIT // 2**20} MB\n".encode()
        self._unseen += kept
        try:
            self._file.write(kept)
        except OSError as error:
            # A full disk ends no job: people see its last lines all the same.
            _log.warning("%s is not written: %s", self._file.name, error.strerror)

    def unseen(self) -> str:
        """What came since this was last asked, as text."""
        text, self._unseen = self._unseen.decode(errors="replace"), b""
        return text

    def show_again(self, text: str) -> None:
        """What could not be shown is shown with what comes next."""
        self._unseen = text.encode() + self._unseen


def forget_before(folder: Path, end: datetime) -> int:
    """Remove what was last written to before a time; gives how many files."""
    old = [path for path in folder.glob("*.log") if path.stat().st_mtime < end.timestamp()]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
