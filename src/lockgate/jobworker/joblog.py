"""What a job's process printed, kept in a file, and not more of it than is any use."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

#: Bytes kept of one attempt.
LIMIT = 4 * 2**20


class JobLog:
    """Appends to a file up to `LIMIT`, and hands on what has not been shown yet."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = path.open("ab")
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
        self._file.write(kept)
        self._file.flush()
        self._unseen += kept

    def unseen(self) -> str:
        """What came since this was last asked, as text."""
        text, self._unseen = self._unseen.decode(errors="replace"), b""
        return text
