"""Reading whole columns gives what reading row by row gave, to the last character of the table."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockgate.adapters.delta.arrow import as_table
from lockgate.adapters.segments.frames import Batch, Other, Record, Schema, code_type
from lockgate.adapters.segments.store import SegmentFolder
from tests.logged import Row
from tests.unit.adapters.segments.row_by_row import rows_in
from tests.unit.adapters.segments.test_segments import segment

NUMBERS = [0.1, -0.0, 3.0, 1e22, 1.5e-7, 5e-324, float("nan"), float("inf"), -2.5]
TEXTS = ["F", "", 'a"b', "ä\0", "%s", "],[", "1,2", "\u2028", "\\"]
#: A second before midnight.
LATE = 1_777_679_999_000_000

MATRICES = [
    Schema(
        version=f"thyroid:{number}",
        layout="matrix",
        dtype=dtype,
        names=("age", 'per"cent %', "tsh"),
        widths=(1, 3, 1),
        score_dtype=score_dtype,
        classes=tuple(f"class {place}" for place in range(classes)),
        positive=positive,
        withheld=withheld,
    )
    for number, dtype, score_dtype, classes, positive, withheld in [
        (1, "<f4", "<f4", 2, "class 1", ()),
        (2, "<f8", "<f8", 300, None, ("name",)),
        (3, "<i8", "<f4", 0, None, ()),
        (3, "<f2", "<f8", 2, "none of them", ()),
    ]
]
COLUMNS = [
    Schema(
        version="dose:1",
        layout="columns",
        dtype="",
        names=("age", "%b", "flag", "sex", "curve", "words"),
        widths=(1, 1, 1, 1, 2, 2),
        score_dtype="<f8",
        classes=(),
        positive=None,
        dtypes=("<f4", "<i8", "|b1", "", "<f8", ""),
        withheld=("name", "street"),
    ),
    Schema(
        version="dose:2",
        layout="columns",
        dtype="",
        names=(),
        widths=(),
        score_dtype="<f8",
        classes=(),
        positive=None,
        withheld=("name",),
    ),
]
#: As gateways described their records before there were batches.
OLD = Schema(
    version="old:1",
    layout="columns",
    dtype="",
    names=("age", "sex"),
    widths=(1, 1),
    score_dtype="<f4",
    classes=("sick", "well"),
    positive="sick",
)


class Gateways:
    """Write whatever a segment may hold, by chance."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._asked = 0

    def segment(self, entries: int) -> list[Schema | Record | Batch]:
        written: list[Schema | Record | Batch] = []
        current: dict[str, Schema] = {}
        for _ in range(entries):
            schema = self._chance.choice([*MATRICES, *COLUMNS, OLD])
            if current.get(schema.version) is not schema:
                current[schema.version] = schema
                written.append(schema)
            written.append(
                self._record(schema) if schema is OLD or self._chance.random() < 0.2 else self._batch(schema)
            )
        return written

    def _batch(self, schema: Schema) -> Batch:
        counts = [self._chance.randint(0, 3) for _ in range(self._chance.randint(0, 3))] + [self._chance.choice([1, 2])]
        if self._chance.random() < 0.5:
            counts = [1] * len(counts)
        rows = sum(counts)
        held: Any = None
        if self._chance.random() < 0.8:
            held = self._matrix(schema, rows) if schema.layout == "matrix" else self._columns(schema, rows)
        return Batch(
            [self._id() for _ in counts],
            [] if rows == len(counts) and counts == [1] * rows else counts,
            *self._about(schema),
            held,
            self._scores(schema, rows),
            self._labels(schema, rows),
            self._chance.choice([[], self._others(rows)]),
        )

    def _record(self, schema: Schema) -> Record:
        rows = self._chance.randint(1, 3)
        time_us, endpoint, version, generation, role = self._about(schema)
        columns = [
            [self._chance.choice([*NUMBERS, *TEXTS, None, True, 2**60]) for _ in range(rows)] for _ in schema.names
        ]
        held = self._matrix(schema, rows) if schema.layout == "matrix" else columns
        labels = self._chance.choice([None, self._texts(rows)])
        scores = self._scores(schema, rows)
        return Record(self._id(), time_us, endpoint, version, generation, role, rows, held, scores, labels)

    def _id(self) -> str:
        self._asked += 1
        return f"{self._asked:026d}"

    def _about(self, schema: Schema) -> tuple[int, str, str, int, str]:
        when = LATE + self._chance.randint(0, 2_000_000)
        endpoint = self._chance.choice(["thyroid.prod", "thyroid.test"])
        return when, endpoint, schema.version, self._chance.choice([7, 8]), self._chance.choice(["live", "shadow"])

    def _numbers(self, dtype: str, many: int) -> NDArray[Any]:
        if np.dtype(dtype).kind == "f":
            with np.errstate(over="ignore"):
                return np.array([self._chance.choice(NUMBERS) for _ in range(many)]).astype(dtype)
        return np.array([self._chance.randint(0, 1) * 2**40 for _ in range(many)]).astype(dtype)

    def _texts(self, many: int) -> list[str]:
        return [self._chance.choice(TEXTS) for _ in range(many)]

    def _matrix(self, schema: Schema, rows: int) -> bytes:
        return self._numbers(schema.dtype, rows * sum(schema.widths)).tobytes()

    def _columns(self, schema: Schema, rows: int) -> list[bytes | list[str]]:
        return [
            self._numbers(dtype, rows * width).tobytes() if dtype else self._texts(rows * width)
            for dtype, width in zip(schema.dtypes, schema.widths, strict=True)
        ]

    def _scores(self, schema: Schema, rows: int) -> bytes:
        width = self._chance.choice([len(schema.classes) or 1, 0])
        return np.array([self._chance.random() for _ in range(rows * width)], schema.score_dtype).tobytes()

    def _labels(self, schema: Schema, rows: int) -> bytes | list[str] | None:
        codes = [self._chance.randrange(len(schema.classes) or 1) for _ in range(rows)]
        coded = [np.array(codes, code_type(len(schema.classes))).tobytes()] if schema.classes else []
        return self._chance.choice([None, self._texts(rows), *coded])

    def _others(self, rows: int) -> list[Other]:
        return [
            Other("embedding", "<f4", (1, 2), self._numbers("<f4", rows * 2).tobytes()),
            Other("words", "", (2,), self._texts(rows * 2)),
            Other("count", "<i8", (), self._numbers("<i8", rows).tobytes()),
        ]


def as_it_was_kept(row: Row) -> dict[str, Any]:
    """A row of the table, as it was made one by one."""
    return {
        "prediction_id": row.prediction_id,
        "endpoint": row.endpoint,
        "date": row.at.date(),
        "version": row.version,
        "generation": row.generation,
        "role": row.role,
        "at": row.at,
        "score": row.score,
        "predicted": row.predicted,
        "inputs": None if row.inputs is None else orjson.dumps(row.inputs).decode(),
        "outputs": None if row.outputs is None else orjson.dumps(row.outputs).decode(),
    }


@given(seed=st.integers(0, 2**32), entries=st.integers(1, 40))
def test_whole_columns_make_the_table_that_single_rows_made(seed: int, entries: int) -> None:
    written = Gateways(seed).segment(entries)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.seg"
        path.write_bytes(segment(*written))
        found = SegmentFolder(Path(folder)).read(path)
    kept: list[dict[str, Any]] = as_table(found.rows).to_pylist()
    expected = [as_it_was_kept(row) for row in rows_in(written)]
    assert not found.damage
    assert sorted(kept, key=lambda row: row["prediction_id"]) == sorted(expected, key=lambda row: row["prediction_id"])


def test_more_rows_than_are_turned_into_text_at_once_keep_their_order_and_their_values() -> None:
    schema, rows = MATRICES[0], 5000
    values = np.arange(rows * 5, dtype="<f4")
    scores = np.linspace(0, 1, rows * 2, dtype="<f4").tobytes()
    ids = [f"{row:026d}" for row in range(rows)]
    batch = Batch(ids, [], LATE, "thyroid.prod", schema.version, 7, "live", values.tobytes(), scores, bytes(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.seg"
        path.write_bytes(segment(schema, batch))
        kept: list[dict[str, Any]] = as_table(SegmentFolder(Path(folder)).read(path).rows).to_pylist()
    assert kept == [as_it_was_kept(row) for row in rows_in([schema, batch])]
