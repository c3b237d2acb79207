"""What a stranger who clones the project relies on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.shape.tree import ROOT, files, named

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
#: Written in two pieces, since this file is searched too.
REGISTRY_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "conda" + ".anaconda.org")
MACHINE_PATHS = ("/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/")


def _pins(lock: str) -> dict[str, str]:
    """Each requirement of a lock with all that belongs to it: its hashes and comments."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return {entry.split(" ")[0].strip(): entry for entry in entries if entry.strip()}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_to_one_version_and_its_hashes(lock: str) -> None:
    pins = _pins(lock)
    assert pins
    assert [pin for pin, entry in pins.items() if "==" not in pin or "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_leaves_open_where_packages_come_from(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert [word for word in ("://", "--index", "--extra-index", "--find-links") if word in text] == []


def test_the_locks_agree_with_each_other() -> None:
    runtime, dev, build = (dict(pin.split("==") for pin in _pins(lock)) for lock in LOCKS)
    assert {name: dev.get(name) for name in runtime} == runtime
    assert {name: version for name, version in build.items() if dev.get(name, version) != version} == {}


def test_no_file_names_a_package_registry_or_somebodys_machine() -> None:
    found = [
        f"{named(path)}: {word}"
        for path, text in _texts()
        for word in (*REGISTRY_HOSTS, *MACHINE_PATHS)
        if word in text
    ]
    assert found == []


def test_the_readme_tells_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    described = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert described == set(phony.group(1).split())


def test_the_continuous_integration_runs_what_everybody_runs() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    steps = re.findall(r"run: (.*)", (ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert steps
    assert [step for step in steps if not step.startswith(("make ", ".ci/run"))] == []


def test_every_action_of_the_workflows_is_pinned_to_a_commit() -> None:
    used = [
        use
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for use in re.findall(r"uses: (\S+)", path.read_text())
    ]
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", use)] == []


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=named)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def _texts() -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for path in files():
        try:
            found.append((path, path.read_text()))
        except UnicodeDecodeError:
            continue  # a picture
    return found
