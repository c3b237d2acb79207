"""What the gateway writes into its log is what was asked and answered, however requests were joined."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.segments.frames import Record, Schema
from lockgate.adapters.segments.store import SegmentFolder
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane import oip
from lockgate.dataplane.batching import Ask, joined
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.routing import LiveTarget
from lockgate.domain.monitoring.sampling import in_sample
from tests.logged import Row, logged_in, rows_of
from tests.serving import MIXED_COLUMNS, keep_classifier, keep_regression, mixed, target

NOON_US = 1_777_636_800_000_000


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def dose(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("dose"))
    return load(keep_regression(blobs, mixed(), MIXED_COLUMNS), blobs)


@pytest.fixture(scope="module")
def secretive(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    """`dose`, with two personal columns."""
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("secretive"))
    columns = tuple(replace(column, personal=column.name != "weight") for column in MIXED_COLUMNS)
    return load(keep_regression(blobs, mixed(), columns), blobs)


def asks(lane: Lane, parts: Sequence[Inputs]) -> list[Ask]:
    live = LiveTarget("thyroid.prod", "prod", 5, target("sha256:" + "0" * 64), lane)
    tally = Counting(lambda: 0.0).tally("thyroid.prod", "thyroid:1", "live", lane)
    ids = [f"01kq{place:022d}" for place in range(len(parts))]
    return [Ask(None, live, tally, "live", id, part, oip.write) for id, part in zip(ids, parts, strict=True)]


def logged(write: Callable[[PredictionLog], None]) -> list[Row]:
    """What is read back of what ``write(log)`` wrote."""
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(SegmentWriter(Path(folder) / "0-a"))
        write(log)
        log.writer.close()
        return logged_in(Path(folder))


def as_records(several: Sequence[Ask], answers: Sequence[Answer]) -> list[Row]:
    """What is read back of records, one a request, as gateways wrote them before there were batches."""
    lane = several[0].target.lane
    matrix = lane.intake.matrix
    schema = Schema(
        version="thyroid:1",
        layout="matrix" if matrix else "columns",
        dtype=np.dtype(lane.intake.dtypes[0]).str if matrix else "",
        names=tuple(column.name for column in lane.intake.columns),
        widths=lane.intake.widths,
        score_dtype=answers[0].scores.dtype.str,
        classes=lane.manifest.classes,
        positive=lane.manifest.positive,
    )

    def write(log: PredictionLog) -> None:
        for ask, answer in zip(several, answers, strict=True):
            inputs = ask.inputs[0].tobytes() if matrix else [array[:, 0].tolist() for array in ask.inputs]
            labels = None if answer.labels is None else [str(label) for label in answer.labels]
            scores = answer.scores.tobytes()
            record = Record(
                ask.prediction_id, NOON_US, "thyroid.prod", "thyroid:1", 5, "live", ask.rows, inputs, scores, labels
            )
            log.writer.append(schema, record)

    return logged(write)


def both_ways(lane: Lane, parts: Sequence[Inputs]) -> tuple[list[Row], list[Row]]:
    several = asks(lane, parts)
    inputs = joined(several)
    whole = lane.predict(inputs)
    answers = [lane.predict(ask.inputs) for ask in several]
    return logged(lambda log: log.append_batch(several, inputs, whole, NOON_US)), as_records(several, answers)


def number(width: int = 32) -> st.SearchStrategy[float]:
    return st.floats(-10, 10, width=32 if width == 32 else 64) | st.just(float("nan"))


@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_a_batch_of_a_matrix_reads_back_as_its_requests_one_by_one(
    forest: Lane, data: st.DataObject, sizes: list[int]
) -> None:
    row = st.lists(number(), min_size=4, max_size=4)
    parts = [(np.array([data.draw(row) for _ in range(size)], np.float32),) for size in sizes]
    batch, one_by_one = both_ways(forest, parts)
    assert batch == one_by_one
    assert len(batch) == sum(sizes)


@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_a_batch_of_columns_reads_back_as_its_requests_one_by_one(
    dose: Lane, data: st.DataObject, sizes: list[int]
) -> None:
    row = st.tuples(st.integers(-(2**63), 2**63 - 1), number(64), st.sampled_from(["F", "M", "", "ä\0"]))
    parts: list[Inputs] = []
    for size in sizes:
        rows = [data.draw(row) for _ in range(size)]
        parts.append(
            (
                np.array([[age] for age, _, _ in rows], np.int64),
                np.array([[weight] for _, weight, _ in rows], np.float64),
                np.array([[sex] for _, _, sex in rows], np.object_),
            )
        )
    several = asks(dose, parts)
    inputs = joined(several)
    answers = [Answer(np.arange(size, dtype=np.float64).reshape(size, 1), None) for size in sizes]
    whole = Answer(np.concatenate([answer.scores for answer in answers]), None)
    batch = logged(lambda log: log.append_batch(several, inputs, whole, NOON_US))
    assert batch == as_records(several, answers)


def a_row() -> Inputs:
    return (np.array([[61]]), np.array([[70.5]]), np.array([["F"]], np.object_))


def test_labels_that_are_no_class_and_labels_that_are_numbers_read_back_as_text(forest: Lane) -> None:
    several = asks(forest, [(np.zeros((1, 4), np.float32),)] * 3)
    scores = np.full((3, 2), 0.5, np.float32)

    def labels_of(labels: list[Any]) -> list[str | None]:
        answer = Answer(scores, labels)
        inputs = joined(several)
        return [row.predicted for row in logged(lambda log: log.append_batch(several, inputs, answer, NOON_US))]

    assert labels_of(["well", "sick", "well"]) == ["well", "sick", "well"]
    assert labels_of(["well", "strange", "sick"]) == ["well", "strange", "sick"]
    assert labels_of([0, 1, 2.5]) == ["0", "1", "2.5"]


@pytest.mark.parametrize("classes", [3, 300, 70_000])
def test_labels_read_back_however_many_classes_there_are(
    forest: Lane, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(map(str, range(classes)))
    monkeypatch.setattr(forest, "manifest", replace(forest.manifest, classes=names, positive=None))
    several = asks(forest, [(np.zeros((1, 4), np.float32),)] * 2)
    # Models that were trained on numbers answer with numbers.
    answer = Answer(np.full((2, 1), 0.5, np.float32), [classes - 1, 0])
    rows = logged(lambda log: log.append_batch(several, joined(several), answer, NOON_US))
    assert [row.predicted for row in rows] == [names[-1], "0"]


def test_other_outputs_read_back_by_name(dose: Lane) -> None:
    several = asks(dose, [a_row(), a_row()])
    others = {
        "embedding": np.array([[[1.0, 2.0]], [[3.0, 4.0]]], np.float32),
        "words": np.array([["a", "b"], ["c", "d"]], np.object_),
        "count": np.array([7, 8]),
    }
    answer = Answer(np.zeros((2, 0)), None, others)
    rows = logged(lambda log: log.append_batch(several, joined(several), answer, NOON_US))
    assert [row.outputs for row in rows] == [
        {"embedding": [[1.0, 2.0]], "words": ["a", "b"], "count": 7},
        {"embedding": [[3.0, 4.0]], "words": ["c", "d"], "count": 8},
    ]
    assert [row.score for row in rows] == [None, None]


def test_scores_of_another_type_are_read_as_what_they_are(dose: Lane) -> None:
    [one] = asks(dose, [a_row()])

    def write(log: PredictionLog) -> None:
        for kind in (np.float64, np.float32, np.float64):
            log.append(one, Answer(np.array([[0.5]], kind), None), NOON_US)

    assert [row.score for row in logged(write)] == [0.5, 0.5, 0.5]


def test_personal_columns_are_not_written_down(secretive: Lane) -> None:
    several = asks(secretive, [a_row(), a_row()])
    answer = secretive.predict(joined(several))
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(SegmentWriter(Path(folder) / "0-a"))
        log.append_batch(several, joined(several), answer, NOON_US)
        log.writer.close()
        store = SegmentFolder(Path(folder))
        [(_, _, path)] = store.sealed()
        rows = rows_of(store.read(path).rows)
        assert [row.inputs for row in rows] == [{"weight": 70.5, "age": None, "sex": None}] * 2
        assert (61).to_bytes(8, "little") not in path.read_bytes()


def test_personal_columns_of_a_matrix_are_not_written_down(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    lane = load(keep_classifier(blobs), blobs)
    columns = lane.manifest.signature.inputs
    lane.intake.columns = (columns[0], replace(columns[1], personal=True), *columns[2:])
    several = asks(lane, [(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),)])
    [row] = logged(lambda log: log.append_batch(several, joined(several), lane.predict(joined(several)), NOON_US))
    assert row.inputs == {name: pytest.approx(value) for name, value in (("x0", 0.1), ("x2", 0.3), ("x3", 0.4))} | {
        "x1": None
    }


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=12), share=st.sampled_from([0.0, 0.3, 0.7]))
def test_outside_the_sample_an_answer_is_kept_without_what_it_answers(
    forest: Lane, sizes: list[int], share: float
) -> None:
    chance = np.random.default_rng(len(sizes))
    several = asks(forest, [(chance.random((size, 4)).astype(np.float32),) for size in sizes])
    inputs = joined(several)
    whole = forest.predict(inputs)
    answers = [forest.predict(ask.inputs) for ask in several]
    manifest = forest.manifest
    forest.manifest = replace(manifest, serving=replace(manifest.serving, sample=share))
    try:
        rows = logged(lambda log: log.append_batch(several, inputs, whole, NOON_US))
    finally:
        forest.manifest = manifest
    expected = [
        row if in_sample(row.prediction_id, share) else replace(row, inputs=None)
        for row in as_records(several, answers)
    ]
    assert sorted(rows, key=lambda row: row.prediction_id) == sorted(expected, key=lambda row: row.prediction_id)
