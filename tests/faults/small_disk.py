"""A disk that fills up on demand."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = 4 << 20


class SmallDisk:
    """Room for four megabytes: a mounted disk where we may mount one, a limit on file sizes elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "lockgate-test", folder]
        self._mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, process: int = 0) -> None:
        """From now on nothing more fits, for this process or another."""
        if not self._mounted:
            largest = max((path.stat().st_size for path in self.folder.rglob("*") if path.is_file()), default=0)
            resource.prlimit(process, resource.RLIMIT_FSIZE, (largest + 1, self._limits[1]))
            return
        with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

    def free(self, process: int = 0) -> None:
        """There is room again."""
        (self.folder / "ballast").unlink(missing_ok=True)
        resource.prlimit(process, resource.RLIMIT_FSIZE, self._limits)

    def remove(self) -> None:
        """Give the disk back."""
        self.free()
        if self._mounted:
            subprocess.run(["umount", "-l", self.folder], check=True)


@contextmanager
def a_small_disk(folder: Path) -> Generator[SmallDisk]:
    """A small disk at a folder, which is made for it."""
    folder.mkdir()
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.remove()
