"""From the frames of a segment to rows: those that are alike are put together, and read as whole columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.segments.frames import Batch, Other, Record, Schema, code_type
from lockgate.base.errors import CorruptArtifact
from lockgate.domain.monitoring.logged import LoggedRows, Values

#: What numpy and the checks here raise for values that do not fit.
_MISFITS = (ValueError, IndexError, TypeError, ArithmeticError)


class _Kind(NamedTuple):
    """What entries have in common whose values may be joined."""

    endpoint: str
    generation: int
    role: str
    #: Columns are plain values, as they are in a `Record`.
    plain: bool
    inputs: type[Any]
    #: Scores of one row.
    scores: int
    labels: type[Any]
    #: Name, type and shape of each output beside scores and labels.
    others: tuple[tuple[str, str, tuple[int, ...]], ...]


class _Heap:
    """Values that may be joined. It keeps no entry: so many small objects would be looked at over and over."""

    def __init__(self) -> None:
        #: One a row.
        self.ids: list[str] = []
        #: All others have one an entry.
        self.rows: list[int] = []
        self.times: list[int] = []
        self.scores: list[bytes] = []
        self.labels: list[Any] = []
        self.inputs: list[Any] = []
        self.others: list[list[Other]] = []

    def add(self, batch: Batch, rows: int) -> None:
        self.ids += _row_ids(batch)
        self.rows.append(rows)
        self.times.append(batch.time_us)
        self.scores.append(batch.scores)
        self.labels.append(batch.labels)
        self.inputs.append(batch.inputs)
        if batch.others:
            self.others.append(batch.others)


class Gathering:
    """Takes the entries of one schema and gives their rows; CorruptArtifact is raised for what does not fit it."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._heaps: dict[_Kind, _Heap] = {}
        try:
            self._row_size = _size(schema.dtype) * sum(schema.widths)
            self._score_size = _size(schema.score_dtype)
            self._code_size = _size(code_type(len(schema.classes)))
            self._column_sizes = [_size(dtype) for dtype in schema.dtypes]
        except _MISFITS as error:
            raise CorruptArtifact(f"the schema of {schema.version} cannot be used: {error}") from error

    def add(self, entry: Batch | Record) -> None:
        """Take one entry."""
        plain = isinstance(entry, Record)
        batch = _as_batch(entry) if isinstance(entry, Record) else entry
        try:
            rows = _rows(batch)
            kind = self._kind(batch, rows, plain)
        except _MISFITS as error:
            raise _misfit(next(iter(batch.prediction_ids), "?"), error) from error
        heap = self._heaps.get(kind)
        if heap is None:
            heap = self._heaps[kind] = _Heap()
        heap.add(batch, rows)

    def rows(self) -> Iterator[LoggedRows]:
        """All rows; those that are alike together, in their order."""
        for kind, heap in self._heaps.items():
            try:
                yield _together(self._schema, kind, heap)
            except _MISFITS as error:
                raise _misfit(heap.ids[0], error) from error

    def _kind(self, batch: Batch, rows: int, plain: bool) -> _Kind:
        # Each entry is measured before it is joined: what it has too much would be read as the next one's.
        scores, rest = divmod(len(batch.scores), rows * self._score_size)
        if rest:
            raise ValueError("its scores are not of its rows")
        held, labels = batch.inputs, batch.labels
        if isinstance(held, bytes):
            _measure("inputs", held, rows, self._row_size)
        elif held is not None:
            self._measure_columns(held, rows, plain)
        if labels is not None:
            _measure("labels", labels, rows, self._code_size)
        for other in batch.others:
            _measure(other.name, other.values, rows * prod(other.shape), _size(other.dtype))
        others = tuple((other.name, other.dtype, other.shape) for other in batch.others) if batch.others else ()
        return _Kind(batch.endpoint, batch.generation, batch.role, plain, type(held), scores, type(labels), others)

    def _measure_columns(self, held: Sequence[bytes | list[Any]], rows: int, plain: bool) -> None:
        schema = self._schema
        sizes = [0] * len(held) if plain else self._column_sizes
        widths = [1] * len(held) if plain else schema.widths
        for name, column, size, width in zip(schema.names, held, sizes, widths, strict=True):
            if isinstance(column, bytes) != bool(size):
                raise ValueError(f"{name} is of another type")
            _measure(name, column, rows * width, size)


def _size(dtype: str) -> int:
    """Bytes of one value; 0 of text."""
    return np.dtype(dtype).itemsize if dtype else 0


def _measure(name: str, values: bytes | list[Any], many: int, size: int) -> None:
    if len(values) != many * (size if isinstance(values, bytes) else 1):
        raise ValueError(f"its {name} are not of its rows")


def _rows(batch: Batch) -> int:
    if not batch.prediction_ids:
        raise ValueError("nobody asked")
    if not batch.counts:
        return len(batch.prediction_ids)
    if len(batch.counts) != len(batch.prediction_ids) or min(batch.counts) < 0:
        raise ValueError("its counts are not of its requests")
    return sum(batch.counts)


def _as_batch(record: Record) -> Batch:
    # Columns of its own hold any values, not text alone.
    inputs: Any = record.inputs
    return Batch(
        [record.prediction_id],
        [record.rows],
        record.time_us,
        record.endpoint,
        record.version,
        record.generation,
        record.role,
        inputs,
        record.scores,
        record.labels,
    )


def _misfit(prediction_id: str, why: object) -> CorruptArtifact:
    return CorruptArtifact(f"record {prediction_id} does not fit its schema: {why}")


def _together(schema: Schema, kind: _Kind, heap: _Heap) -> LoggedRows:
    ids = heap.ids
    outputs: dict[str, Values] = {
        name: _joined([others[at].values for others in heap.others], dtype, len(ids), shape)
        for at, (name, dtype, shape) in enumerate(kind.others)
    }
    return LoggedRows(
        prediction_ids=ids,
        endpoint=kind.endpoint,
        version=schema.version,
        generation=kind.generation,
        role=kind.role,
        at_us=np.repeat(np.array(heap.times, np.int64), heap.rows),
        score=_score(schema, _matrix(heap.scores, schema.score_dtype, len(ids), kind.scores)),
        predicted=_predicted(schema, heap.labels, ids),
        inputs=_inputs(schema, kind.plain, heap.inputs, len(ids)),
        outputs=outputs or None,
    )


def _row_ids(entry: Batch) -> list[str]:
    """A request's only row has its id; the rows of others are ``id.0``, ``id.1``, …"""
    if not entry.counts:
        return entry.prediction_ids
    return [
        id if count == 1 else f"{id}.{row}"
        for id, count in zip(entry.prediction_ids, entry.counts, strict=True)
        for row in range(count)
    ]


def _score(schema: Schema, scores: NDArray[Any]) -> NDArray[np.float64] | None:
    """The positive class's score, the largest where no class is positive, or a regression's number."""
    width = scores.shape[1]
    if not width:
        return None
    if schema.positive in schema.classes and width == len(schema.classes):
        return scores[:, schema.classes.index(schema.positive)].astype(np.float64)
    return scores.max(axis=1).astype(np.float64)


def _predicted(schema: Schema, labels: list[Any], ids: list[str]) -> list[str] | None:
    if labels[0] is None:
        return None
    if isinstance(labels[0], list):
        return list(chain.from_iterable(labels))
    codes = np.frombuffer(b"".join(labels), code_type(len(schema.classes)))
    strange = np.flatnonzero(codes >= len(schema.classes))
    if len(strange):
        raise _misfit(ids[strange[0]], "its label is none of the classes")
    return [schema.classes[code] for code in codes.tolist()]


def _inputs(schema: Schema, plain: bool, held: list[Any], rows: int) -> dict[str, Values] | None:
    """By column; what is withheld is missing in every row. None where the payload was not kept."""
    if held[0] is None:
        return None
    withheld: list[Values] = [None] * len(schema.withheld)
    if isinstance(held[0], bytes):
        matrix = _matrix(held, schema.dtype, rows, sum(schema.widths))
        ends = np.cumsum(schema.widths).tolist()
        given: list[Values] = [
            matrix[:, end - 1] if width == 1 else matrix[:, end - width : end]
            for end, width in zip(ends, schema.widths, strict=True)
        ]
    elif plain:
        given = [_joined(column, "", rows, ()) for column in zip(*held, strict=True)]
    else:
        shapes = [() if width == 1 else (width,) for width in schema.widths]
        given = [
            _joined(column, dtype, rows, shape)
            for column, dtype, shape in zip(zip(*held, strict=True), schema.dtypes, shapes, strict=True)
        ]
    return dict(zip((*schema.names, *schema.withheld), given + withheld, strict=True))


def _matrix(parts: Sequence[bytes], dtype: str, rows: int, width: int) -> NDArray[Any]:
    return np.frombuffer(b"".join(parts), dtype).reshape(rows, width)


def _joined(parts: Sequence[Any], dtype: str, rows: int, shape: tuple[int, ...]) -> Values:
    """One value or tensor a row; text in lists."""
    if dtype:
        return np.frombuffer(b"".join(parts), dtype).reshape(rows, *shape)
    values: list[Any] = list(chain.from_iterable(parts))
    if not shape:
        return values
    return np.array(values, np.object_).reshape(rows, *shape).tolist()
