"""Labels, and the prediction that each is the truth about."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Float, Index, Row, Table, Text, bindparam, insert, select, update

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.store import connection_of
from lockgate.adapters.sql.tables import GROWING, Moment, metadata
from lockgate.ports import Label, Transaction

labels = Table(
    "labels",
    metadata,
    Column("created", GROWING, primary_key=True, autoincrement=True),
    Column("prediction_id", Text, nullable=False, unique=True),
    Column("endpoint", Text, nullable=False),
    Column("value", Text, nullable=False),
    # Null until the prediction is found.
    Column("version", Text),
    Column("minute", BigInteger),
    Column("score", Float),
    Column("predicted", Text),
    Column("received_at", Moment, nullable=False),
)
Index("ix_labels_joined", labels.c.endpoint, labels.c.minute)
Index("ix_labels_waiting", labels.c.version, labels.c.created)

#: Ids looked up in one statement; engines bound how many values one may carry.
_AT_ONCE = 500
#: What is known of a label once its prediction is found.
_FOUND = ("version", "minute", "score", "predicted")


class SqlLabels:
    """Knows how to keep labels and which prediction each belongs to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked = threading.Lock()
        self._place = 0

    def add(self, tx: Transaction, labels: Sequence[Label]) -> int:
        """Keep or replace labels; gives how many are new or changed. The match with a prediction stays."""
        own = connection_of(tx)
        newest = {label.prediction_id: label for label in labels}
        changed = sum(_merge(own.connection, batch) for batch in _batches(newest.values()))
        if changed:
            own.changes("labels")
        return changed

    def waiting(self, limit: int = 10_000) -> list[Label]:
        """Labels whose prediction has not been found yet, oldest first.

        Each call goes on where the last one stopped and begins anew at the end, so that labels of
        predictions that never were cannot keep the others waiting.
        """
        with self._looked, self._database.reading() as connection:
            query = select(labels).where(labels.c.version.is_(None), labels.c.created > self._place)
            rows = connection.execute(query.order_by(labels.c.created).limit(limit)).all()
            self._place = rows[-1].created if len(rows) == limit else 0
        return [_label(row) for row in rows]

    def match(self, found: Sequence[Label]) -> None:
        """Write down the predictions that were found."""
        mine = (labels.c.prediction_id == bindparam("id")) & (labels.c.endpoint == bindparam("of"))
        fill = update(labels).where(mine).values({name: bindparam(f"found_{name}") for name in _FOUND})
        # Batch by batch, since other writers wait for each.
        for batch in _batches(found):
            rows = [
                {"id": label.prediction_id, "of": label.endpoint}
                | {f"found_{name}": getattr(label, name) for name in _FOUND}
                for label in batch
            ]
            with self._database.writing() as connection:
                connection.execute(fill, rows)

    def joined(
        self, endpoint: str, start: int, end: int, version: str | None = None, *, newest: int | None = None
    ) -> list[Label]:
        """Labels with their predictions, of predictions made in the minutes start <= minute < end, oldest first;
        at most so many of the ``newest`` predictions, all without."""
        query = select(labels).where(
            labels.c.endpoint == endpoint,
            labels.c.minute >= start,
            labels.c.minute < end,
            labels.c.version.is_not(None),
        )
        if version is not None:
            query = query.where(labels.c.version == version)
        # Ids of predictions grow with time, so they tell the order within a minute.
        query = query.order_by(labels.c.minute.desc(), labels.c.prediction_id.desc()).limit(newest)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [_label(row) for row in reversed(rows)]


def _batches(all: Iterable[Label]) -> Iterator[list[Label]]:
    walk = iter(all)
    return iter(lambda: list(islice(walk, _AT_ONCE)), [])


def _merge(connection: Connection, part: Sequence[Label]) -> int:
    ids = [label.prediction_id for label in part]
    query = select(labels.c.prediction_id, labels.c.endpoint, labels.c.value).where(labels.c.prediction_id.in_(ids))
    known = {row.prediction_id: row for row in connection.execute(query)}
    fresh = [label for label in part if label.prediction_id not in known]
    if fresh:
        connection.execute(insert(labels), [_row(label) for label in fresh])
    changed = len(fresh)
    for label in part:
        old = known.get(label.prediction_id)
        if old is None or (old.value, old.endpoint) == (label.value, label.endpoint):
            continue
        values: dict[str, Any] = {"value": label.value, "received_at": label.received_at}
        if old.endpoint != label.endpoint:
            # Another endpoint's prediction cannot be the one that was found.
            values |= {"endpoint": label.endpoint, **dict.fromkeys(_FOUND)}
        connection.execute(update(labels).where(labels.c.prediction_id == label.prediction_id).values(values))
        changed += 1
    return changed


def _row(label: Label) -> dict[str, Any]:
    return {name: getattr(label, name) for name in Label.__slots__}


def _label(row: Row[Any]) -> Label:
    return Label(**{name: getattr(row, name) for name in Label.__slots__})
