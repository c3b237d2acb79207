"""The pytest plugin: ``pytest --lockgate`` gives tests candidate, champion, holdout, baseline and requests.

On a laptop they come from ``--lockgate-model`` and ``--lockgate-holdout``. The server runs the very same files with
``--lockgate-wire``, in a process that has neither the model nor the platform, and asks for predictions over a socket.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from pandas import DataFrame


class Model(Protocol):
    """What ``candidate`` and ``champion`` can do."""

    #: Name, task, classes (in the order of `predict_proba`), and inputs: name -> low, high, categories, optional.
    facts: dict[str, Any]

    def predict(self, rows: DataFrame) -> Any:
        """Labels, or numbers; shape (rows,). Other columns than the model's are ignored."""
        ...

    def predict_proba(self, rows: DataFrame) -> Any:
        """Probabilities, shape (rows, classes)."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, all of which begin alike."""
    group = parser.getgroup("lockgate", "checks of a model")
    group.addoption("--lockgate", action="store_true", help="give tests a candidate, a champion and rows")
    group.addoption("--lockgate-model", metavar="FOLDER", help="the model, as MLflow saved it")
    group.addoption("--lockgate-champion", metavar="FOLDER", help="the one that is live")
    group.addoption("--lockgate-holdout", metavar="FILE", help="labelled rows, Parquet or CSV")
    group.addoption("--lockgate-requests", metavar="FILE", help="rows that callers sent, Parquet or CSV")
    group.addoption("--lockgate-label", metavar="COLUMN", default="", help="the label's column in the holdout")
    group.addoption("--lockgate-wire", metavar="FD", type=int, help="for the server alone")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing happens without ``--lockgate``."""
    if not config.getoption("--lockgate"):
        return
    wire = config.getoption("--lockgate-wire")
    if wire is not None:
        from lockgate.adapters.packages.checks.remote import Remote

        source: Any = Remote(int(wire))
        config.pluginmanager.register(source.reporter, "lockgate-reporter")
    else:

        def path(name: str) -> Path | None:
            given = config.getoption(name)
            return Path(given) if given else None

        model = path("--lockgate-model")
        if model is None:
            raise pytest.UsageError("--lockgate needs --lockgate-model, the folder of a model as MLflow saved it")
        # It imports what opens models, which takes seconds.
        from lockgate.plugins.local_checks import Local

        source = Local(
            model=model,
            champion=path("--lockgate-champion"),
            holdout=path("--lockgate-holdout"),
            requests=path("--lockgate-requests"),
            label=str(config.getoption("--lockgate-label")),
        )
    config.pluginmanager.register(Fixtures(source), "lockgate-fixtures")


class Fixtures:
    """The fixtures themselves, from wherever they come."""

    def __init__(self, source: Any) -> None:
        self._source = source

    @pytest.fixture(scope="session")
    def candidate(self) -> Model:
        """The version that is judged."""
        return self._source.candidate()

    @pytest.fixture(scope="session")
    def champion(self) -> Model:
        """The version that is live in the environment; tests that need it are skipped where there is none."""
        found = self._source.champion()
        if found is None:
            pytest.skip("nothing is live yet")
        return found

    @pytest.fixture
    def holdout(self) -> DataFrame:
        """Labelled rows that the model was not trained on, a fresh copy for each test."""
        found = self._source.holdout()
        if found is None:
            pytest.skip("there is no holdout")
        return found.copy()

    @pytest.fixture(scope="session")
    def baseline(self, candidate: Model) -> dict[str, Any]:
        """What training held: input -> low, high, categories, optional."""
        return candidate.facts["inputs"]

    @pytest.fixture
    def requests(self) -> DataFrame:
        """Rows that callers sent of late, a fresh copy for each test."""
        found = self._source.requests()
        if found is None:
            pytest.skip("there are no logged requests")
        return found.copy()
