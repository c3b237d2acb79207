"""Which lines of a stranger's requirements.txt are taken, and when an environment is there already."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.python_runner.environments import installing_environment
from lockgate.adapters.python_runner.requirements import Wanted, held, wanted
from lockgate.base.errors import UnsafeArtifact

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}([-_.][A-Za-z0-9]{1,4})?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}", fullmatch=True)


def test_plain_lines_are_taken_sorted_and_completed() -> None:
    lines = ["# made by MLflow", "", "Scikit_Learn==1.5.0  # pinned", "pandas>=2,<3", 'tomli; python_version < "3.0"']
    found = wanted(lines, python="3.12.4", mlflow="2.9.2")
    assert found == Wanted(
        python="3.12", requirements=("mlflow-skinny==2.9.2", "numpy", "pandas<3,>=2", "scikit-learn==1.5.0")
    )
    assert wanted(found.requirements, python="3.12.4") == found


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--index-url https://elsewhere/simple",
        "--extra-index-url=https://elsewhere/simple",
        "-e .",
        "-e git+https://elsewhere/x.git#egg=x",
        "git+https://elsewhere/x.git",
        "x @ https://elsewhere/x-1.0-py3-none-any.whl",
        "x @ file:///etc/passwd",
        "https://elsewhere/x-1.0.tar.gz",
        "./x",
        "/opt/x-1.0-py3-none-any.whl",
        "../x",
        "x==1.0 --hash=sha256:abc",
        "x==1.0; extra == 'y' or nonsense",
        "x==1.0\x00",
    ],
)
def test_whatever_says_where_packages_come_from_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(UnsafeArtifact) as caught:
        wanted(["numpy", line, "pandas", "--pre"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["line 2", "line 4"]


@given(st.lists(st.tuples(NAMES, VERSIONS), max_size=5), st.randoms())
def test_the_order_and_spelling_of_lines_makes_no_other_environment(
    lines: list[tuple[str, str]], chance: object
) -> None:
    written = [f"{name}=={version}" for name, version in lines]
    spelt = [f"  {name.upper().replace('-', '_')} == {version} # why" for name, version in reversed(lines)]
    assert wanted(written).name == wanted(spelt).name


@given(st.text(max_size=60))
def test_no_line_passes_that_pip_would_take_for_anything_but_a_package(line: str) -> None:
    try:
        found = wanted(line.splitlines())
    except UnsafeArtifact:
        return
    for text in found.requirements:
        assert not text.startswith("-")
        assert "/" not in text
        assert "@" not in text


def test_the_platforms_own_interpreter_serves_where_it_holds_everything_at_its_version() -> None:
    numpy = metadata.version("numpy")
    assert held(wanted([f"numpy=={numpy}", "pandas"]))
    assert not held(wanted(["numpy==1.0.0"]))
    assert not held(wanted(["no-such-package"]))
    assert not held(wanted([f"numpy=={numpy}"], python="3.8.1"))
    assert held(wanted(["mlflow[extras-nobody-has]"]))


def test_the_installers_hear_what_pip_was_told_and_nothing_of_the_platform() -> None:
    configured = "global.find-links='/srv/wheels /srv/more'\nglobal.index-url='https://mirror/simple'\n"
    told = installing_environment({"PATH": "/bin", "LOCKGATE_DATABASE_URL": "postgres://secret"}, configured)
    assert told["UV_FIND_LINKS"] == "/srv/wheels,/srv/more"
    assert told["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert told["PATH"] == "/bin"
    assert not any(name.startswith("LOCKGATE_") for name in told)
    mine = installing_environment({"UV_DEFAULT_INDEX": "https://mine/simple"}, configured)
    assert mine["UV_DEFAULT_INDEX"] == "https://mine/simple"
