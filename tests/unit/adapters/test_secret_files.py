from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.adapters.secretfiles.folder import SecretFolder
from lockgate.base.errors import NotServable

ORIGIN = "https://models.example.org"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "admin-token").write_text("lg_of_the_platform")
    made = tmp_path / "upstream"
    made.mkdir()
    (made / "friend").write_text("sk-1\n")
    (made / "bound").write_text(f"sk-2\n{ORIGIN}\n")
    (made / "empty").write_text("\n")
    (made / "binary").write_bytes(b"\xff\xfe")
    (made / "split").write_text("sk\x0bheader: x\n")
    return made


def test_a_token_is_the_first_line_of_its_file(folder: Path):
    assert SecretFolder(folder).read("secret://friend", "http://127.0.0.1:8000") == "sk-1"


def test_a_token_that_is_bound_goes_nowhere_else(folder: Path):
    assert SecretFolder(folder).read("secret://bound", ORIGIN) == "sk-2"
    with pytest.raises(NotServable, match="may not be sent to https://evil"):
        SecretFolder(folder).read("secret://bound", "https://evil.example.org")


@pytest.mark.parametrize(
    "name", ["../admin-token", "nobody", "empty", "binary", "split", "", "a/b", ".", "..", "x" * 200, "friend\n"]
)
def test_what_is_no_secret_is_told_without_what_is_in_it(folder: Path, name: str):
    with pytest.raises(NotServable) as told:
        SecretFolder(folder).read(f"secret://{name}", ORIGIN)
    assert "lg_of_the" not in str(told.value)
    assert "sk-" not in told.value.message


def test_a_token_itself_is_no_reference(folder: Path):
    with pytest.raises(NotServable, match="names no secret"):
        SecretFolder(folder).read("sk-1", ORIGIN)


def test_a_token_that_was_rotated_is_used_soon(folder: Path):
    now = [0.0]
    secrets = SecretFolder(folder, lambda: now[0])
    assert secrets.read("secret://friend", ORIGIN) == "sk-1"
    (folder / "friend").write_text("sk-new")
    assert secrets.read("secret://friend", ORIGIN) == "sk-1"
    now[0] = 6.0
    assert secrets.read("secret://friend", ORIGIN) == "sk-new"
