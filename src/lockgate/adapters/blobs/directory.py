"""Bytes by their content address, in a folder.

Nothing a client says ever becomes a path: a digest is checked to be 64 hex digits first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lockgate.base.digest import check_digest, digest_of
from lockgate.base.errors import CorruptArtifact, NotFound, Unavailable

_CHUNK = 1 << 20
_TROUBLE = {
    errno.ENOSPC: ("the disk of the blobs is full", "free some space; nothing was changed"),
    errno.EDQUOT: ("the quota of the blobs' disk is used up", "free some space; nothing was changed"),
    errno.EFBIG: ("the disk of the blobs takes no file of this size", "raise the limit on file sizes"),
    errno.EROFS: ("the disk of the blobs is read-only", "check how it is mounted"),
    errno.EACCES: ("the folder of the blobs may not be used", "check its owner and mode"),
    errno.EPERM: ("the folder of the blobs may not be used", "check its owner and mode"),
    errno.EIO: ("the disk of the blobs fails", "look at the machine's log"),
}


class DirectoryBlobs:
    """Knows how to keep bytes by their content address under a folder of its own.

    A blob appears whole or not at all, is on the disk before its digest is given out, and is read-only.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / "sha256"
        self._incoming = root / "incoming"
        # What was checked already: unless the file changed, it need not be read again.
        self._checked: dict[str, tuple[int, int, int]] = {}

    def put(self, data: bytes) -> str:
        """Keep some bytes; gives their digest. Raises Unavailable when the disk is full."""
        digest = digest_of(data)
        with _plainly():
            if not self._intact(digest):
                self._keep([data])
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a file's bytes without reading them all into memory; raises as `put`."""
        with _plainly():
            return self._keep(_chunks(path))

    def get(self, digest: str) -> bytes:
        """The bytes; raises NotFound, or CorruptArtifact when they no longer match."""
        place = self._place(digest)
        with _plainly():
            try:
                data = place.read_bytes()
            except FileNotFoundError:
                raise _missing(digest) from None
        if digest_of(data) != digest:
            raise _corrupt(digest)
        return data

    def path(self, digest: str) -> Path:
        """A local, read-only file with the bytes, checked; raises as `get`."""
        place = self._place(digest)
        with _plainly():
            if not self._intact(digest):
                raise _corrupt(digest) if place.exists() else _missing(digest)
        return place

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        with _plainly():
            return self._place(digest).is_file()

    def _place(self, digest: str) -> Path:
        hexadecimal = check_digest(digest).removeprefix("sha256:")
        return self._root / hexadecimal[:2] / hexadecimal

    def _intact(self, digest: str) -> bool:
        place = self._place(digest)
        try:
            stat = place.stat()
        except FileNotFoundError:
            return False
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if self._checked.get(digest) == seen:
            return True
        if _digest_of_chunks(_chunks(place)) != digest:
            return False
        self._checked[digest] = seen
        return True

    def _keep(self, chunks: Iterator[bytes] | list[bytes]) -> str:
        self._incoming.mkdir(parents=True, exist_ok=True)
        # A name of chance, never of content: two writers of one blob do not meet.
        draft = self._incoming / secrets.token_hex(16)
        hasher = hashlib.sha256()
        try:
            with draft.open("xb") as file:
                for chunk in chunks:
                    hasher.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            digest = "sha256:" + hasher.hexdigest()
            place = self._place(digest)
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(place)
            _sync_folder(place.parent)
            _sync_folder(self._root)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        return digest


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _digest_of_chunks(chunks: Iterator[bytes]) -> str:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may forget the name of a file whose bytes are safe.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _missing(digest: str) -> NotFound:
    return NotFound(f"there is no blob {digest}")


def _corrupt(digest: str) -> CorruptArtifact:
    return CorruptArtifact(
        f"blob {digest} no longer matches its digest", hint="restore it from a backup, or submit again"
    )


@contextmanager
def _plainly() -> Generator[None]:
    try:
        yield
    except OSError as error:
        known = _TROUBLE.get(error.errno or 0)
        if known is None:
            raise
        raise Unavailable(known[0], hint=known[1]) from error
