from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from lockgate.adapters.delta.predictions import DeltaPredictions
from lockgate.adapters.segments.frames import MAGIC, Record, Schema, frame
from lockgate.adapters.segments.store import SegmentFolder
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.labels import SqlLabels
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.ids import RandomIds
from lockgate.base.window import minute_of
from lockgate.jobworker.prediction_log import LogKeeper, Rhythm
from lockgate.ports import Label, Labels, Prediction, Why
from lockgate.workflows.compact_log import compact_log
from lockgate.workflows.match_labels import match_labels
from tests.logged import Row, by_column

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def an_id(at: datetime) -> str:
    return RandomIds().new("p", at).removeprefix("p_")


def a_row(at: datetime = NOON, **changes: object) -> Row:
    made = Row(
        prediction_id=an_id(at),
        endpoint="thyroid.prod",
        version="thyroid:3",
        generation=7,
        role="live",
        at=at,
        score=0.25,
        predicted="negative",
        inputs={"age": 61.0, "sex": "F", "TSH": None},
    )
    return dataclasses.replace(made, **changes)  # pyright: ignore[reportArgumentType]


def answers(rows: Iterable[Row | Prediction]) -> list[Prediction]:
    """What of rows can be found again."""
    fields = [field.name for field in dataclasses.fields(Prediction)]
    found = [Prediction(**{name: getattr(row, name) for name in fields}) for row in rows]
    return sorted(found, key=lambda row: row.prediction_id)


def a_segment(folder: Path, seq: int, rows: list[Row]) -> Path:
    schema = Schema(
        version="thyroid:3",
        layout="columns",
        dtype="<f8",
        names=("age", "sex"),
        widths=(1, 1),
        score_dtype="<f8",
        classes=(),
        positive=None,
    )
    body = MAGIC + frame(schema)
    for row in rows:
        at = int(row.at.timestamp() * 1_000_000)
        values: list[list[bool | int | float | str | None]] = [[61.0], ["F"]]
        score = bytearray(8)
        record = Record(row.prediction_id, at, row.endpoint, row.version, 7, row.role, 1, values, bytes(score), None)
        body += frame(record)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{seq:012d}.seg"
    path.write_bytes(body)
    return path


@pytest.fixture
def table(tmp_path: Path) -> DeltaPredictions:
    return DeltaPredictions(tmp_path / "predictions")


class LabelBook:
    """Labels in a real store."""

    def __init__(self, database: Database) -> None:
        self.store = SqlStore(database)
        self.labels: Labels = SqlLabels(database)

    def add(self, prediction: Row, value: str, endpoint: str = "thyroid.prod") -> None:
        label = Label(prediction_id=prediction.prediction_id, endpoint=endpoint, value=value, received_at=NOON)
        with self.store.begin(Why(actor="ada", reason="a test", at=NOON)) as tx:
            self.labels.add(tx, [label])
            tx.record("labels.added", f"endpoint/{endpoint}")

    def joined(self) -> list[Label]:
        minute = minute_of(NOON)
        return self.labels.joined("thyroid.prod", minute - 60 * 48, minute + 60 * 48)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[LabelBook]:
    database = Database(f"sqlite:///{tmp_path / 'lockgate.db'}")
    migrate(database)
    yield LabelBook(database)
    database.engine.dispose()


def test_predictions_come_back_by_their_ids(table: DeltaPredictions):
    rows = [a_row(NOON + timedelta(hours=hour)) for hour in range(0, 60, 5)]
    assert table.append("0-aa", 1, by_column(rows)) == len(rows)
    asked = [row.prediction_id for row in rows[::2]]
    assert answers(table.find([*asked, an_id(NOON), "no id at all"])) == answers(rows[::2])


def test_rows_of_one_request_are_told_apart(table: DeltaPredictions):
    id = an_id(NOON)
    table.append("0-aa", 1, by_column([a_row(prediction_id=f"{id}.{row}", score=row / 10) for row in range(3)]))
    (found,) = table.find([f"{id}.2"])
    assert found.score == 0.2


def test_a_prediction_around_midnight_is_found_in_either_day(table: DeltaPredictions):
    midnight = datetime(2026, 5, 2, tzinfo=UTC)
    asked_before = a_row(midnight + timedelta(seconds=1), prediction_id=an_id(midnight - timedelta(seconds=1)))
    table.append("0-aa", 1, by_column([asked_before]))
    assert table.find([asked_before.prediction_id])


def test_a_shadows_answer_is_kept_but_never_joined_with_a_label(table: DeltaPredictions):
    live = a_row()
    shadow = dataclasses.replace(live, role="shadow", version="thyroid:4", score=0.9)
    assert table.append("0-aa", 1, by_column([live, shadow])) == 2
    assert [found.version for found in table.find([live.prediction_id])] == ["thyroid:3"]


def test_a_segment_is_added_once_however_often_it_is_brought(tmp_path: Path, table: DeltaPredictions):
    rows = [a_row(), a_row()]
    assert table.append("0-aa", 4, by_column(rows)) == 2
    assert table.append("0-aa", 4, by_column(rows)) == 0
    again = DeltaPredictions(tmp_path / "predictions")
    assert again.append("0-aa", 3, by_column(rows)) == 0
    assert again.append("1-bb", 4, by_column([a_row()])) == 1
    assert DeltaTable(tmp_path / "predictions").count() == 3


def test_the_table_is_one_that_others_can_read(tmp_path: Path, table: DeltaPredictions):
    table.append("0-aa", 1, by_column([a_row()]))
    (row,) = DeltaTable(tmp_path / "predictions").to_pyarrow_table().to_pylist()
    assert row["inputs"] == '{"age":61.0,"sex":"F","TSH":null}'
    assert DeltaTable(tmp_path / "predictions").metadata().partition_columns == ["endpoint", "date"]


def test_a_payload_that_was_not_kept_is_null_and_further_outputs_are_beside_the_inputs(
    tmp_path: Path, table: DeltaPredictions
):
    table.append("0-aa", 1, by_column([a_row(inputs=None), a_row(outputs={"dose": [1.5, 2.0]})]))
    rows = DeltaTable(tmp_path / "predictions").to_pyarrow_table().sort_by("prediction_id").to_pylist()
    assert sorted((row["inputs"] is None, row["outputs"]) for row in rows if row["inputs"] is None) == [(True, None)]
    assert [row["outputs"] for row in rows if row["inputs"]] == ['{"dose":[1.5,2.0]}']


def test_a_table_from_before_there_were_outputs_takes_them(tmp_path: Path, table: DeltaPredictions):
    old = a_row()
    table.append("0-aa", 1, by_column([old]))
    made = DeltaTable(tmp_path / "predictions").to_pyarrow_table().drop_columns(["outputs"])
    write_deltalake(tmp_path / "old", made, partition_by=["endpoint", "date"])
    grown = DeltaPredictions(tmp_path / "old")
    new = a_row(outputs={"dose": 1.5})
    assert grown.append("0-aa", 2, by_column([new])) == 1
    rows = DeltaTable(tmp_path / "old").to_pyarrow_table().to_pylist()
    assert {row["prediction_id"]: row["outputs"] for row in rows} == {
        old.prediction_id: None,
        new.prediction_id: '{"dose":1.5}',
    }


def test_tidying_merges_files_and_keeps_every_row_and_the_memory_of_what_was_added(
    tmp_path: Path, table: DeltaPredictions
):
    rows = [a_row() for _ in range(8)]
    for seq, row in enumerate(rows):
        table.append("0-aa", seq, by_column([row]))
    table.tidy()
    assert len(DeltaTable(tmp_path / "predictions").file_uris()) == 1
    assert answers(table.find([row.prediction_id for row in rows])) == answers(rows)
    assert table.append("0-aa", 7, by_column(rows[-1:])) == 0


def test_an_empty_table_finds_nothing_and_is_tidy(table: DeltaPredictions):
    assert table.find([an_id(NOON)]) == []
    table.tidy()


def test_sealed_segments_are_carried_over_and_dropped(tmp_path: Path, table: DeltaPredictions):
    rows = [a_row() for _ in range(3)]
    a_segment(tmp_path / "log" / "0-aa", 1, rows[:2])
    a_segment(tmp_path / "log" / "0-aa", 2, rows[2:])
    segments = SegmentFolder(tmp_path / "log")
    carried = compact_log(segments, table)
    assert (carried.segments, carried.rows) == (2, 3)
    assert segments.sealed() == []
    assert len(table.find([row.prediction_id for row in rows])) == 3


def test_a_segment_that_was_added_before_a_crash_is_only_dropped(tmp_path: Path, table: DeltaPredictions):
    rows = [a_row()]
    path = a_segment(tmp_path / "log" / "0-aa", 1, rows)
    segments = SegmentFolder(tmp_path / "log")
    table.append("0-aa", 1, segments.read(path).rows)
    carried = compact_log(segments, table)
    assert (carried.segments, carried.rows) == (1, 0)
    assert not path.exists()
    assert len(table.find([rows[0].prediction_id])) == 1


def test_a_segment_that_cannot_be_read_is_set_aside_and_holds_up_nobody(tmp_path: Path, table: DeltaPredictions):
    bad = tmp_path / "log" / "0-aa" / "000000000001.seg"
    bad.parent.mkdir(parents=True)
    lonely = Record(an_id(NOON), 1, "thyroid.prod", "thyroid:3", 7, "live", 1, b"", b"", None)
    bad.write_bytes(MAGIC + frame(lonely))
    row = a_row()
    a_segment(bad.parent, 2, [row])
    carried = compact_log(SegmentFolder(tmp_path / "log"), table)
    assert (carried.segments, carried.rows) == (1, 1)
    (reason,) = carried.set_aside
    assert "000000000001.bad" in reason
    assert bad.with_suffix(".bad").exists()


def test_what_is_good_of_a_damaged_segment_is_kept_once_and_the_segment_is_set_aside(
    tmp_path: Path, table: DeltaPredictions, book: LabelBook, caplog: pytest.LogCaptureFixture
):
    first, second, third = rows = [a_row() for _ in range(3)]
    path = a_segment(tmp_path / "log" / "0-aa", 1, rows)
    data = bytearray(path.read_bytes())
    data[data.index(second.prediction_id.encode())] ^= 1
    path.write_bytes(data)
    segments = SegmentFolder(tmp_path / "log")
    # As if a pass had ended between the two.
    table.append("0-aa", 1, segments.read(path).rows)
    keeper = LogKeeper(segments, table, book.labels, rhythm=Rhythm(pass_=0.01))
    thread = threading.Thread(target=keeper.run)
    thread.start()
    deadline = time.monotonic() + 10
    while segments.sealed() and time.monotonic() < deadline:
        time.sleep(0.02)
    keeper.stop()
    thread.join(5)
    assert path.with_suffix(".bad").read_bytes() == data
    assert segments.damaged() == 1
    assert DeltaTable(tmp_path / "predictions").count() == 2
    found = table.find([row.prediction_id for row in rows])
    assert {row.prediction_id for row in found} == {first.prediction_id, third.prediction_id}
    [told] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "000000000001.bad: 0 bytes torn off, 1 frames damaged" in told


def test_labels_find_their_predictions_as_soon_as_these_are_logged(table: DeltaPredictions, book: LabelBook):
    early, late = a_row(), a_row(NOON + timedelta(minutes=5))
    book.add(early, "sick")
    book.add(late, "negative")
    table.append("0-aa", 1, by_column([early]))
    assert match_labels(book.labels, table) == 1
    table.append("0-aa", 2, by_column([late]))
    assert match_labels(book.labels, table) == 1
    found = {label.value: label for label in book.joined()}
    assert (found["sick"].version, found["sick"].score, found["sick"].predicted) == ("thyroid:3", 0.25, "negative")
    assert found["negative"].minute == minute_of(NOON + timedelta(minutes=5))
    assert match_labels(book.labels, table) == 0


def test_a_label_that_names_another_endpoint_is_not_joined(table: DeltaPredictions, book: LabelBook):
    prediction = a_row()
    table.append("0-aa", 1, by_column([prediction]))
    book.add(prediction, "sick", endpoint="spine.prod")
    assert match_labels(book.labels, table) == 0


def test_the_keeper_carries_and_joins_by_itself_until_it_is_stopped(
    tmp_path: Path, table: DeltaPredictions, book: LabelBook
):
    prediction = a_row()
    rhythm = Rhythm(pass_=0.05, tidy=0.1)
    keeper = LogKeeper(SegmentFolder(tmp_path / "log"), table, book.labels, rhythm=rhythm)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        book.add(prediction, "sick")
        a_segment(tmp_path / "log" / "0-aa", 1, [prediction])
        deadline = time.monotonic() + 10
        while not book.joined():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        keeper.stop()
        thread.join(5)
    assert not thread.is_alive()
