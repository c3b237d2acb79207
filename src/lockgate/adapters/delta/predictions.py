"""The prediction table: one Delta table of all endpoints, for DuckDB, Polars, Spark or Power BI to read beside us.

The library behind it starts threads when it is imported, so a process that imports this module must not fork.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from lockgate.base.errors import Invalid, Unavailable
from lockgate.base.ids import moment_of
from lockgate.ports import Prediction

SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("endpoint", pa.string()),
        ("date", pa.date32()),
        ("version", pa.string()),
        ("generation", pa.int64()),
        ("role", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("score", pa.float64()),
        ("predicted", pa.string()),
        #: A JSON object; columns of its own would tie all models to one list of features.
        ("inputs", pa.string()),
    ]
)
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

    def append(self, source: str, seq: int, rows: Iterable[Prediction]) -> int:
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
                return 0
            batch = _arrow(rows)
            if batch.num_rows == 0:
                return 0
            write_deltalake(
                table if table is not None else self._root,
                batch,
                mode="append",
                partition_by=_PARTITIONS,
                configuration=_CONFIGURATION if table is None else None,
                commit_properties=CommitProperties(app_transactions=[Transaction(source, seq)]),
            )
            return batch.num_rows

    def find(self, ids: Sequence[str]) -> list[Prediction]:
        """Predictions of these ids that have been appended, without their inputs; never a shadow's.

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


def _arrow(rows: Iterable[Prediction]) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    known = list(rows)
    columns = [
        [row.prediction_id for row in known],
        [row.endpoint for row in known],
        [row.at.astimezone(UTC).date() for row in known],
        [row.version for row in known],
        [row.generation for row in known],
        [row.role for row in known],
        [row.at for row in known],
        [row.score for row in known],
        [row.predicted for row in known],
        [orjson.dumps(row.inputs).decode() for row in known],
    ]
    return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


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
    return Prediction(**row, inputs={})  # pyright: ignore[reportArgumentType] # the columns of SCHEMA, in its types
