"""The cage's side: predictions are asked for over the socket, and what became of each test is told."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lockgate.adapters.packages.checks.wire import hear, say, show

_LONGEST = 1000


class Remote:
    """Everything comes from the keeper of the cage."""

    def __init__(self, descriptor: int) -> None:
        self._wire = socket.socket(fileno=descriptor)
        self._told: dict[str, Any] = hear(self._wire)
        self.reporter = Reporter(self._wire)

    def candidate(self) -> RemoteModel:
        return RemoteModel(self._wire, "candidate", self._told["candidate"])

    def champion(self) -> RemoteModel | None:
        facts = self._told.get("champion")
        return None if facts is None else RemoteModel(self._wire, "champion", facts)

    def holdout(self) -> pd.DataFrame | None:
        return self._table("holdout")

    def requests(self) -> pd.DataFrame | None:
        return self._table("requests")

    def _table(self, role: str) -> pd.DataFrame | None:
        path = Path(f"{role}.parquet")
        return pd.read_parquet(path) if path.is_file() else None


class RemoteModel:
    """A model that is asked over the socket."""

    def __init__(self, wire: socket.socket, who: str, facts: dict[str, Any]) -> None:
        self._wire, self._who = wire, who
        self.facts = facts

    def predict(self, rows: pd.DataFrame) -> Any:
        return self._asked(rows)["prediction"].to_numpy(zero_copy_only=False)

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        answer = self._asked(rows)
        return np.column_stack([answer[f"p:{at}"].to_numpy() for at in range(len(self.facts["classes"]))])

    def _asked(self, rows: pd.DataFrame) -> Any:
        table = pa.Table.from_pandas(rows, preserve_index=False)
        show(self._wire, table.replace_schema_metadata({b"who": self._who.encode(), **(table.schema.metadata or {})}))
        answer = hear(self._wire)
        if isinstance(answer, pa.Table):
            return answer
        raise ValueError(str((answer or {}).get("refused", "nobody answers")))


class Reporter:
    """Tells what became of each test."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._tell(report.nodeid, report.when or "", report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell(report.nodeid, "collect", report)

    def _tell(self, name: str, when: str, report: Any) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        told = crash.message if crash is not None else report.longrepr[-1] if report.skipped else report.longreprtext
        say(
            self._wire,
            {
                "test": name,
                "when": when,
                "outcome": report.outcome,
                # What follows the first line is pytest's own picture of it, for a terminal.
                "message": "" if report.outcome == "passed" else str(told).partition("\n")[0][:_LONGEST],
                "seconds": round(report.duration, 3) if hasattr(report, "duration") else 0.0,
            },
        )
