"""The prediction table: one Delta table of all endpoints, for DuckDB, Polars, Spark or Power BI to read beside us.

The library behind it starts threads when it is imported, so a process that imports this module must not fork.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from lockgate.adapters.delta.arrow import as_table
from lockgate.base.errors import Invalid, Unavailable
from lockgate.base.ids import moment_of
from lockgate.domain.monitoring.logged import LoggedRows
from lockgate.ports import Prediction

_PARTITIONS = ["endpoint", "date"]
_CONFIGURATION: dict[str, str | None] = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 2 days",
    # Files are found by these; statistics of whole inputs would only make the log long.
    "delta.dataSkippingStatsColumns": "prediction_id,at",
}
#: What find reads.
_KEPT = ["prediction_id", "endpoint", "version", "generation", "role", "at", "score", "predicted"]
#: A request may have begun on the day before its answer was written down.
_SLACK = timedelta(minutes=10)


class DeltaPredictions:
    """The `PredictionTable` in a local Delta table; one process writes at a time, any number reads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._table: DeltaTable | None = None

    def append(self, source: str, seq: int, rows: Sequence[LoggedRows]) -> int:
        """Add the rows of one sealed segment exactly once, also when called again after a crash.

        Gives how many rows were added; 0 when this segment, or a later one of its source, was added before.

        Raises:
            Unavailable: the table cannot be written just now; nothing was added.
        """
        with self._alone(), _plainly():
            table = self._fresh()
            # The log itself remembers the last sequence of each source, in the commit that added the rows.
            done = table.transaction_version(source) if table else None
            if done is not None and done >= seq:
                # Whoever added it may have died before it was on the disk, and its segment is dropped next.
                os.sync()
                return 0
            batch = as_table(rows)
            if batch.num_rows == 0:
                return 0
            write_deltalake(
                table if table is not None else self._root,
                batch,
                mode="append",
                # A table from before a column was added gets it now.
                schema_mode="merge",
                partition_by=_PARTITIONS,
                configuration=_CONFIGURATION if table is None else None,
                commit_properties=CommitProperties(app_transactions=[Transaction(source, seq)]),
            )
            self._settle()
            return batch.num_rows

    def find(self, ids: Sequence[str]) -> list[Prediction]:
        """Predictions of these ids that have been appended, never a shadow's.

        Ids begin with their time, so only the files of those days, and in them only the ranges of those ids, are read.
        """
        with _plainly():
            table = self._fresh()
            if table is None:
                return []
            return [found for day, wanted in _by_day(ids).items() for found in _of_day(table, day, wanted)]

    def tidy(self) -> None:
        """Merge the small files of each day, and drop those that no reader of the last week can need."""
        with self._alone(), _plainly():
            table = self._fresh()
            if table is None:
                return
            table.optimize.compact()
            table.vacuum(dry_run=False)
            table.create_checkpoint()
            table.cleanup_metadata()

    def _settle(self) -> None:
        """Bring the newest commit to the disk: the library leaves it to the system, and its segment is dropped next."""
        table = self._fresh()
        if table is None:
            return
        log = self._root / "_delta_log"
        commit = log / f"{table.version():020d}.json"
        actions: list[dict[str, Any]] = [orjson.loads(line) for line in commit.read_bytes().splitlines()]
        files = [self._root / unquote(action["add"]["path"]) for action in actions if "add" in action]
        days = {file.parent for file in files}
        # Contents before names, and the commit after what it speaks of.
        for path in (*files, *days, *{day.parent for day in days}, commit, log, self._root, self._root.parent):
            _synced(path)

    def _fresh(self) -> DeltaTable | None:
        """The table with all commits in it; None before the first."""
        if self._table is not None:
            self._table.update_incremental()
        elif DeltaTable.is_deltatable(str(self._root)):
            self._table = DeltaTable(self._root)
        return self._table

    @contextmanager
    def _alone(self) -> Generator[None]:
        # Two writers that both find a segment missing would both add it: the log does not refuse the second.
        self._root.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._root.with_name(self._root.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _plainly() -> Generator[None]:
    try:
        yield
    except CommitFailedError as error:
        raise Unavailable("somebody else writes the prediction table", hint="it is tried again") from error
    except (DeltaError, OSError) as error:
        raise Unavailable(
            f"the prediction table cannot be used: {error}", hint="look at the disk it is on; nothing was lost"
        ) from error


def _by_day(ids: Sequence[str]) -> dict[date, set[str]]:
    days: dict[date, set[str]] = {}
    for id in ids:
        try:
            begun = moment_of(id.partition(".")[0])
        except Invalid:  # nobody ever gave out such an id, so it is not in the table
            continue
        # Around midnight the row may lie in the partition of either day.
        for day in {begun.date(), (begun + _SLACK).date(), (begun - _SLACK).date()}:
            days.setdefault(day, set()).add(id)
    return days


def _of_day(table: DeltaTable, day: date, wanted: set[str]) -> list[Prediction]:
    # It brings pandas along, for which the platform's start would wait though most of it never looks.
    import pyarrow.dataset as ds

    first, last = min(wanted), max(wanted)
    files = table.to_pyarrow_dataset(
        file_pruning_predicate=[
            ("date", "=", day.isoformat()),
            ("prediction_id", ">=", first),
            ("prediction_id", "<=", last),
        ]
    )
    named = ds.field("prediction_id")
    mine = (ds.field("date") == day) & (named >= first) & (named <= last) & named.isin(list(wanted))
    found = files.to_table(columns=_KEPT, filter=mine & (ds.field("role") != "shadow"))
    return [_prediction(row) for row in found.to_pylist()]


def _prediction(row: dict[str, str | int | float | datetime | None]) -> Prediction:
    return Prediction(**row)  # pyright: ignore[reportArgumentType] # the columns of SCHEMA, in its types
