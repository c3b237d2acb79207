"""Bytes are kept by what they are, and given out only if they still are."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.digest import digest_of
from lockgate.base.errors import CorruptArtifact, Invalid, NotFound
from lockgate.ports import Blobs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(root: Path) -> Blobs:
    return DirectoryBlobs(root)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_bytes_come_back_by_their_digest(blobs: Blobs, root: Path) -> None:
    digest = blobs.put(b"a model")
    assert digest == digest_of(b"a model")
    assert blobs.get(digest) == b"a model"
    assert blobs.path(digest).read_bytes() == b"a model"
    assert blobs.has(digest)
    hexadecimal = digest.removeprefix("sha256:")
    assert files(root) == [root / "sha256" / hexadecimal[:2] / hexadecimal]


def test_a_file_is_kept_as_its_bytes_are(blobs: Blobs, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "model.onnx").write_bytes(data)
    digest = blobs.put_file(tmp_path / "model.onnx")
    assert digest == digest_of(data)
    assert blobs.get(digest) == data


def test_putting_the_same_twice_is_one_blob(blobs: Blobs, root: Path, tmp_path: Path) -> None:
    first = blobs.put(b"same")
    before = files(root)[0].stat()
    (tmp_path / "same").write_bytes(b"same")
    assert blobs.put(b"same") == blobs.put_file(tmp_path / "same") == first
    (only,) = files(root)
    assert only.stat().st_size == before.st_size


def test_a_blob_is_read_only(blobs: Blobs) -> None:
    assert blobs.path(blobs.put(b"x")).stat().st_mode & 0o777 == 0o444


def test_what_was_never_put_is_not_found(blobs: Blobs) -> None:
    nothing = digest_of(b"nothing")
    assert not blobs.has(nothing)
    for ask in (blobs.get, blobs.path):
        with pytest.raises(NotFound):
            ask(nothing)


def test_a_blob_that_changed_is_never_given_out_and_is_mended_by_putting_it_again(blobs: Blobs) -> None:
    digest = blobs.put(b"a model")
    place = blobs.path(digest)
    place.chmod(0o644)
    place.write_bytes(b"a m0del")
    for ask in (blobs.get, blobs.path):
        with pytest.raises(CorruptArtifact) as told:
            ask(digest)
        assert told.value.hint
    blobs.put(b"a model")
    assert blobs.get(digest) == b"a model"
    assert blobs.path(digest) == place


@pytest.mark.parametrize(
    "text", ["", "../../etc/passwd", "sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32]
)
def test_only_a_digest_names_a_blob(blobs: Blobs, text: str) -> None:
    for ask in (blobs.get, blobs.path, blobs.has):
        with pytest.raises(Invalid):
            ask(text)


def test_writers_of_one_blob_do_not_disturb_each_other(blobs: Blobs, root: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(blobs.put, [b"same" * 1000] * 40))
    assert len(digests) == len(files(root)) == 1
    assert blobs.get(digests.pop()) == b"same" * 1000


def test_a_file_that_is_not_there_is_the_callers_own_mistake(blobs: Blobs, root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        blobs.put_file(tmp_path / "none")
    assert files(root) == []
