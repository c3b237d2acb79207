from __future__ import annotations

import os
from pathlib import Path

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.python_runner.folders import ModelFolders
from lockgate.adapters.python_runner.unused import hold, remove_unused
from lockgate.dataplane.loading import read_manifest
from tests.serving import keep_classifier

NOW = 1_800_000_000.0
DAY = 86400.0


def folder(root: Path, name: str, days: float) -> Path:
    place = root / name
    (place / "inner").mkdir(parents=True)
    (place / "inner" / "file").write_text("x")
    (place / "inner").chmod(0o555)
    place.chmod(0o555)
    os.utime(place, (NOW - days * DAY, NOW - days * DAY))
    return place


def test_only_what_nobody_used_for_fourteen_days_goes_away(tmp_path: Path) -> None:
    fresh, old = folder(tmp_path, "fresh", 13.9), folder(tmp_path, "old", 14.1)
    (tmp_path / "old.lock").touch()
    assert remove_unused(tmp_path, NOW) == ["old"]
    assert (fresh.exists(), old.exists()) == (True, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "old.lock"]
    assert remove_unused(tmp_path / "never made", NOW) == []


def test_what_somebody_runs_from_stays_until_he_lets_it_go(tmp_path: Path) -> None:
    place = folder(tmp_path, "running", 100)
    held = hold(place)
    assert remove_unused(tmp_path, NOW) == []
    assert (place / "inner" / "file").read_text() == "x"
    os.close(held)
    assert remove_unused(tmp_path, NOW) == ["running"]
    assert hold(place) == -1


def test_what_a_killed_gateway_left_half_removed_is_removed(tmp_path: Path) -> None:
    folder(tmp_path, "leaving-old", 0)
    assert remove_unused(tmp_path, NOW) == []
    assert list(tmp_path.iterdir()) == []


def test_a_package_laid_out_long_ago_is_kept_once_it_is_asked_for(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    manifest = read_manifest(keep_classifier(blobs), blobs)
    folders = ModelFolders(tmp_path / "models", blobs)
    place = folders.of(manifest)
    os.utime(place, (0.0, 0.0))
    folders.of(manifest)
    assert remove_unused(tmp_path / "models", place.stat().st_mtime + 13 * DAY) == []
    assert remove_unused(tmp_path / "models", place.stat().st_mtime + 15 * DAY) == [place.name]
