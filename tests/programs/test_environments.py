"""Environments that are really built, and models that really run in them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from lockgate.adapters.python_runner.environments import Environments
from lockgate.adapters.python_runner.launch import Launch
from lockgate.adapters.python_runner.requirements import Wanted, wanted
from lockgate.adapters.python_runner.session import RunnerSession
from lockgate.adapters.python_runner.unused import remove_unused
from lockgate.base.errors import Invalid, NotServable
from tests.pymodels import POISON, TENSOR, moody

pytestmark = pytest.mark.process

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_an_equal_environment_is_reused_and_nothing_is_built(tmp_path: Path) -> None:
    numpy = metadata.version("numpy")
    found = Environments(tmp_path / "environments").ensure(wanted([f"numpy=={numpy}"]), pytest.fail)
    assert found == Path(sys.executable)
    assert not (tmp_path / "environments").exists()


def test_another_environment_is_built_once_and_the_model_runs_in_it(tmp_path: Path) -> None:
    other = Wanted(python=OURS, requirements=("numpy", "pyyaml", "six==1.16.0"))
    told: list[str] = []
    environments = Environments(tmp_path / "environments")
    place = tmp_path / "environments" / other.name
    # What a builder left that was killed, and another builder who is at it just now.
    (tmp_path / "environments").mkdir()
    place.with_name(f"{other.name}.draft").mkdir()
    lock = os.open(place.with_name(f"{other.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(0.3, lambda: os.close(lock)).start()
    interpreter = environments.ensure(other, told.append)
    assert told == [
        "waiting for somebody else who builds the same environment",
        "building an environment with numpy, pyyaml, six",
    ]
    assert interpreter == place / "bin" / "python"
    assert not place.with_name(f"{other.name}.draft").exists()
    began = time.monotonic()
    assert environments.ensure(other, pytest.fail) == interpreter
    assert time.monotonic() - began < 0.5
    launch = Launch(
        interpreter=interpreter,
        folder=moody(tmp_path / "m"),
        work=tmp_path / "work",
        columns=TENSOR,
        memory_bytes=1 << 30,
    )
    session = RunnerSession(launch)
    try:
        assert session.answer({"": np.array([[1.0, 2.0]])})["scores"].tolist() == [[3.0]]
        with pytest.raises(Invalid, match="a may not be minus one"):
            session.answer({"": np.array([[POISON, 2.0]])})
        assert remove_unused(tmp_path / "environments", time.time() + 100 * 86400) == []
    finally:
        session.close()
    assert list((tmp_path / "work").iterdir()) == []
    code = "import six, sys; print(six.__version__, 'pandas' in sys.modules or sys.prefix)"
    told_by = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True)
    assert told_by.stdout.split() == ["1.16.0", str(place)]
    assert remove_unused(tmp_path / "environments", time.time() + 100 * 86400) == [other.name]


def test_packages_that_do_not_go_together_and_a_python_that_is_not_here_are_told(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    with pytest.raises(NotServable, match="cannot be installed"):
        environments.ensure(Wanted(python=OURS, requirements=("six==1.16.0", "six==1.15.0")), lambda step: None)
    with pytest.raises(NotServable, match=r"made with Python 3\.2, which is not on this machine") as caught:
        environments.ensure(Wanted(python="3.2", requirements=("six==1.16.0",)), lambda step: None)
    assert "train it on the platform's Python" in caught.value.hint
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
