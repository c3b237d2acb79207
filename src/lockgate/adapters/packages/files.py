"""A model's folder, looked at as if a stranger had packed it."""

from __future__ import annotations

import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lockgate.base.errors import CorruptArtifact, UnsafeArtifact
from lockgate.base.paths import check_inside


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much one artifact may be."""

    files: int = 1_000
    #: Bytes of all files together, and of everything that an archive among them unpacks to.
    total: int = 2 * 1024**3
    #: Bytes of one file.
    single: int = 1024**3


def safe_files(folder: Path, limits: Limits) -> dict[str, Path]:
    """Every file by its path inside the folder, sorted.

    Raises:
        UnsafeArtifact: links, devices, names that no package may hold, or more than the limits.
    """
    found: dict[str, Path] = {}
    total = 0
    for place, folders, names in os.walk(folder, followlinks=False):
        for name in sorted(folders + names):
            path = Path(place, name)
            inside = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise UnsafeArtifact(f"{inside!r} is a link", hint="log the file itself, not a link to it")
            check_inside(inside)
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise UnsafeArtifact(f"{inside!r} is neither a file nor a folder")
            size = path.stat().st_size
            total += size
            found[inside] = path
            _within(len(found), total, size, inside, limits)
    return dict(sorted(found.items()))


def safe_archive(path: Path, limits: Limits) -> None:
    """Refuse a zip (a skops file is one) that is damaged, or that unpacks to more or elsewhere than it should.

    Raises:
        CorruptArtifact: not a whole zip.
        UnsafeArtifact: names that leave it, or a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > 100 * limits.files or sum(entry.file_size for entry in entries) > limits.total:
                raise UnsafeArtifact(f"{path.name!r} unpacks to more than a model may be")
            for entry in entries:
                check_inside(entry.filename)
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise CorruptArtifact(f"{path.name!r} is damaged: {error}", hint="log the model again") from error
    if broken is not None:
        raise CorruptArtifact(f"{path.name!r} is damaged at {broken!r}", hint="log the model again")


def _within(count: int, total: int, size: int, inside: str, limits: Limits) -> None:
    if count > limits.files:
        raise UnsafeArtifact(f"the artifact has more than {limits.files} files")
    if size > limits.single:
        raise UnsafeArtifact(f"{inside!r} has {size} bytes, and {limits.single} is the most")
    if total > limits.total:
        raise UnsafeArtifact(f"the artifact has more than {limits.total} bytes")
