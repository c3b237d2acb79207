from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

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

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def an_id(at: datetime) -> str:
    return RandomIds().new("p", at).removeprefix("p_")


def a_prediction(at: datetime = NOON, **changes: object) -> Prediction:
    made = Prediction(
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


def without_inputs(rows: list[Prediction]) -> list[Prediction]:
    return sorted((dataclasses.replace(row, inputs={}) for row in rows), key=lambda row: row.prediction_id)


def a_segment(folder: Path, seq: int, rows: list[Prediction]) -> Path:
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

    def add(self, prediction: Prediction, value: str, endpoint: str = "thyroid.prod") -> None:
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
    rows = [a_prediction(NOON + timedelta(hours=hour)) for hour in range(0, 60, 5)]
    assert table.append("0-aa", 1, rows) == len(rows)
    asked = [row.prediction_id for row in rows[::2]]
    assert without_inputs(table.find([*asked, an_id(NOON), "no id at all"])) == without_inputs(rows[::2])


def test_rows_of_one_request_are_told_apart(table: DeltaPredictions):
    id = an_id(NOON)
    table.append("0-aa", 1, [a_prediction(prediction_id=f"{id}.{row}", score=row / 10) for row in range(3)])
    (found,) = table.find([f"{id}.2"])
    assert found.score == 0.2


def test_a_prediction_around_midnight_is_found_in_either_day(table: DeltaPredictions):
    midnight = datetime(2026, 5, 2, tzinfo=UTC)
    asked_before = a_prediction(midnight + timedelta(seconds=1), prediction_id=an_id(midnight - timedelta(seconds=1)))
    table.append("0-aa", 1, [asked_before])
    assert table.find([asked_before.prediction_id])


def test_a_shadows_answer_is_kept_but_never_joined_with_a_label(table: DeltaPredictions):
    live = a_prediction()
    shadow = dataclasses.replace(live, role="shadow", version="thyroid:4", score=0.9)
    assert table.append("0-aa", 1, [live, shadow]) == 2
    assert [found.version for found in table.find([live.prediction_id])] == ["thyroid:3"]


def test_a_segment_is_added_once_however_often_it_is_brought(tmp_path: Path, table: DeltaPredictions):
    rows = [a_prediction(), a_prediction()]
    assert table.append("0-aa", 4, rows) == 2
    assert table.append("0-aa", 4, rows) == 0
    again = DeltaPredictions(tmp_path / "predictions")
    assert again.append("0-aa", 3, rows) == 0
    assert again.append("1-bb", 4, [a_prediction()]) == 1
    assert DeltaTable(tmp_path / "predictions").count() == 3


def test_the_table_is_one_that_others_can_read(tmp_path: Path, table: DeltaPredictions):
    table.append("0-aa", 1, [a_prediction()])
    (row,) = DeltaTable(tmp_path / "predictions").to_pyarrow_table().to_pylist()
    assert row["inputs"] == '{"age":61.0,"sex":"F","TSH":null}'
    assert DeltaTable(tmp_path / "predictions").metadata().partition_columns == ["endpoint", "date"]


def test_tidying_merges_files_and_keeps_every_row_and_the_memory_of_what_was_added(
    tmp_path: Path, table: DeltaPredictions
):
    rows = [a_prediction() for _ in range(8)]
    for seq, row in enumerate(rows):
        table.append("0-aa", seq, [row])
    table.tidy()
    assert len(DeltaTable(tmp_path / "predictions").file_uris()) == 1
    assert without_inputs(table.find([row.prediction_id for row in rows])) == without_inputs(rows)
    assert table.append("0-aa", 7, rows[-1:]) == 0


def test_an_empty_table_finds_nothing_and_is_tidy(table: DeltaPredictions):
    assert table.find([an_id(NOON)]) == []
    table.tidy()


def test_sealed_segments_are_carried_over_and_dropped(tmp_path: Path, table: DeltaPredictions):
    rows = [a_prediction() for _ in range(3)]
    a_segment(tmp_path / "log" / "0-aa", 1, rows[:2])
    a_segment(tmp_path / "log" / "0-aa", 2, rows[2:])
    segments = SegmentFolder(tmp_path / "log")
    carried = compact_log(segments, table)
    assert (carried.segments, carried.rows) == (2, 3)
    assert segments.sealed() == []
    assert len(table.find([row.prediction_id for row in rows])) == 3


def test_a_segment_that_was_added_before_a_crash_is_only_dropped(tmp_path: Path, table: DeltaPredictions):
    rows = [a_prediction()]
    path = a_segment(tmp_path / "log" / "0-aa", 1, rows)
    segments = SegmentFolder(tmp_path / "log")
    table.append("0-aa", 1, segments.read(path))
    carried = compact_log(segments, table)
    assert (carried.segments, carried.rows) == (1, 0)
    assert not path.exists()
    assert len(table.find([rows[0].prediction_id])) == 1


def test_a_segment_that_cannot_be_read_is_set_aside_and_holds_up_nobody(tmp_path: Path, table: DeltaPredictions):
    bad = tmp_path / "log" / "0-aa" / "000000000001.seg"
    bad.parent.mkdir(parents=True)
    lonely = Record(an_id(NOON), 1, "thyroid.prod", "thyroid:3", 7, "live", 1, b"", b"", None)
    bad.write_bytes(MAGIC + frame(lonely))
    row = a_prediction()
    a_segment(bad.parent, 2, [row])
    carried = compact_log(SegmentFolder(tmp_path / "log"), table)
    assert (carried.segments, carried.rows) == (1, 1)
    (reason,) = carried.set_aside
    assert "000000000001.bad" in reason
    assert bad.with_suffix(".bad").exists()


def test_labels_find_their_predictions_as_soon_as_these_are_logged(table: DeltaPredictions, book: LabelBook):
    early, late = a_prediction(), a_prediction(NOON + timedelta(minutes=5))
    book.add(early, "sick")
    book.add(late, "negative")
    table.append("0-aa", 1, [early])
    assert match_labels(book.labels, table) == 1
    table.append("0-aa", 2, [late])
    assert match_labels(book.labels, table) == 1
    found = {label.value: label for label in book.joined()}
    assert (found["sick"].version, found["sick"].score, found["sick"].predicted) == ("thyroid:3", 0.25, "negative")
    assert found["negative"].minute == minute_of(NOON + timedelta(minutes=5))
    assert match_labels(book.labels, table) == 0


def test_a_label_that_names_another_endpoint_is_not_joined(table: DeltaPredictions, book: LabelBook):
    prediction = a_prediction()
    table.append("0-aa", 1, [prediction])
    book.add(prediction, "sick", endpoint="spine.prod")
    assert match_labels(book.labels, table) == 0


def test_the_keeper_carries_and_joins_by_itself_until_it_is_stopped(
    tmp_path: Path, table: DeltaPredictions, book: LabelBook
):
    prediction = a_prediction()
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
