"""The reference says what the code does."""

from __future__ import annotations

import re

import pytest

from tools.generate_reference import REFERENCE, SCHEMA, pages, published_schema


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """What `make docs` would write now."""
    return pages()


def test_the_reference_is_what_the_code_says_now(made: dict[str, str]) -> None:
    written = {page.name: page.read_text() for page in REFERENCE.iterdir()}
    behind = {name for name in made.keys() | written.keys() if made.get(name) != written.get(name)}
    assert behind == set(), "run: make docs"


def test_the_schema_for_editors_is_what_the_reader_goes_by() -> None:
    assert SCHEMA.read_text() == published_schema(), "run: make docs"


@pytest.mark.parametrize(("name", "cell"), [("cli.md", 2), ("settings.md", 2), ("lockgate-yaml.md", 3)])
def test_every_option_setting_and_key_of_the_reference_is_explained(made: dict[str, str], name: str, cell: int) -> None:
    rows = [re.split(r"(?<!\\)\|", line) for line in made.get(name, "").splitlines() if line.startswith("| `")]
    assert [row[1].strip() for row in rows if not row[cell].strip()] == []
