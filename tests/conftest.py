"""What every test can ask for."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from lockgate.testing import FakeClock, SequentialIds

# `ci` tries the same cases on every run, so a red build is red for everybody; `explore` looks for new ones.
settings.register_profile("ci", derandomize=True, max_examples=60, deadline=None, print_blob=True)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

HERE = Path(__file__).parent
#: Tests in these folders start real processes; they run one after another.
PROCESS_FOLDERS = ("programs", "e2e", "faults", "contract")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="tests of faults go on for long; see `make soak`")


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> bool:
    """Whether a test that can be long or short shall be long."""
    return bool(pytestconfig.getoption("--soak"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in PROCESS_FOLDERS:
            item.add_marker(pytest.mark.process)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands at noon of 1 May 2026, UTC, until it is moved."""
    return FakeClock()


@pytest.fixture
def ids() -> SequentialIds:
    """Ids that count up by kind."""
    return SequentialIds()


@pytest.fixture(scope="session")
def free_port(worker_id: str) -> Callable[..., int]:
    """``free_port()`` gives a TCP port of 127.0.0.1 that is free, and so are the ``row - 1`` after it.

    Each test worker takes them from a range of its own, below the one the system hands out to clients: so nobody
    takes a port between our looking and the server's binding."""
    worker = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    ports = itertools.cycle(range(10_000 + worker % 20 * 1_000, 11_000 + worker % 20 * 1_000 - 10))
    # Somewhere in the range, so that the tests of two checkouts hardly ever meet.
    for _ in range(os.getpid() % 900):
        next(ports)

    def ask(row: int = 1) -> int:
        for first in ports:
            if all(_is_free(first + more) for more in range(row)):
                for _ in range(row - 1):
                    next(ports)
                return first
        raise AssertionError("the range goes round for ever")

    return ask


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
