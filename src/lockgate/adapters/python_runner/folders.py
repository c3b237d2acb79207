"""The files of packages, as folders that MLflow can load."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from lockgate.adapters.python_runner.unused import remove, used
from lockgate.base.digest import check_digest
from lockgate.base.paths import check_inside
from lockgate.domain.registry.manifest import Manifest
from lockgate.ports import Blobs


class ModelFolders:
    """Knows how to lay a package's files out, once for each package."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self._blobs = blobs

    def of(self, manifest: Manifest) -> Path:
        """The folder, read-only, every file checked against its digest when it is laid out.

        Raises:
            NotFound, CorruptArtifact: a file is missing, or is not what the manifest says.
            UnsafeArtifact: a name that would lie elsewhere.
        """
        place = self.root / check_digest(manifest.digest).removeprefix("sha256:")
        if place.is_dir():
            used(place)
            return place
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.root / f"draft-{secrets.token_hex(8)}"
        try:
            for name, entry in manifest.files.items():
                check_inside(name)
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                # A copy and no link: what a model's code does to its own files must not reach the blobs.
                shutil.copyfile(self._blobs.path(entry.digest), path)
                path.chmod(0o444)
            for folder, _, _ in os.walk(draft, topdown=False):
                Path(folder).chmod(0o555)
            # Another gateway may have been quicker.
            with suppress(OSError):
                draft.chmod(0o755)
                draft.rename(place)
                place.chmod(0o555)
        finally:
            remove(draft)
        return place
