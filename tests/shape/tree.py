"""The files of the project, as the tests of its shape see them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "lockgate"


def files() -> list[Path]:
    """Every file that is part of the project, committed or about to be."""
    if shutil.which("git") and (ROOT / ".git").exists():
        ask = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        said = subprocess.run(ask, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        found = [ROOT / name for name in said.split("\0") if name]
    else:
        found = [path for path in _walk(ROOT) if path.suffix != ".pyc"]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def python_files(*folders: str) -> list[Path]:
    """The Python files below some of the project's folders."""
    return [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


def named(path: Path) -> str:
    """How a message calls a file."""
    return str(path.relative_to(ROOT))


def _walk(folder: Path) -> list[Path]:
    # An archive of the project has no git: what tools leave behind is told by its name.
    left_behind = {"__pycache__", "artifacts", "build", "dist"}
    kept = {".ci", ".github"}
    found: list[Path] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name in kept or not (entry.name.startswith(".") or entry.name in left_behind):
                found += _walk(entry)
        else:
            found.append(entry)
    return found
