from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.segments.frames import MAGIC, Batch, Record, Scan, Schema, frame
from lockgate.adapters.segments.store import SegmentFolder
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.base.errors import CorruptArtifact
from tests.logged import logged_in, rows_of

SCHEMA = Schema(
    version="thyroid:1",
    layout="matrix",
    dtype="<f4",
    names=("age", "tsh"),
    widths=(1, 1),
    score_dtype="<f4",
    classes=("sick", "well"),
    positive="sick",
)


def record(prediction_id: str = "01a", rows: int = 1, version: str = "thyroid:1") -> Record:
    inputs = np.arange(rows * 2, dtype="<f4").reshape(rows, 2)
    scores = np.tile(np.array([[0.25, 0.75]], dtype="<f4"), (rows, 1))
    return Record(
        prediction_id,
        1_000_000,
        "thyroid.prod",
        version,
        3,
        "live",
        rows,
        inputs.tobytes(),
        scores.tobytes(),
        ["well"] * rows,
    )


def segment(*entries: Schema | Record | Batch) -> bytes:
    return MAGIC + b"".join(frame(entry) for entry in entries)


def ids_in(folder: Path) -> list[str]:
    return [row.prediction_id for row in logged_in(folder)]


def test_what_was_written_is_read_back_row_by_row(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "0-boot")
    writer.append(SCHEMA, record("01a", rows=2))
    writer.append(SCHEMA, record("01b"))
    assert writer.flush()
    writer.close()
    store = SegmentFolder(tmp_path)
    [(source, seq, path)] = store.sealed()
    first, second, third = rows_of(store.read(path).rows)
    assert (source, seq) == ("0-boot", 0)
    assert [first.prediction_id, second.prediction_id, third.prediction_id] == ["01a.0", "01a.1", "01b"]
    assert second.inputs == {"age": 2.0, "tsh": 3.0}
    assert (second.score, second.predicted, second.role, second.generation) == (0.25, "well", "live", 3)
    assert second.at.timestamp() == 1.0


def test_columns_and_missing_values_are_read_back(tmp_path: Path) -> None:
    schema = Schema(
        version="dose:1",
        layout="columns",
        dtype="",
        names=("age", "sex"),
        widths=(1, 1),
        score_dtype="<f8",
        classes=(),
        positive=None,
    )
    entry = Record(
        "01a",
        0,
        "dose.prod",
        "dose:1",
        1,
        "live",
        2,
        [[1.0, float("nan")], ["F", "M"]],
        np.array([3.5, 4.5]).tobytes(),
        None,
    )
    path = tmp_path / "0.seg"
    path.write_bytes(segment(schema, entry))
    found = list(rows_of(SegmentFolder(tmp_path).read(path).rows))
    assert [row.inputs for row in found] == [{"age": 1.0, "sex": "F"}, {"age": None, "sex": "M"}]
    assert [(row.score, row.predicted) for row in found] == [(3.5, None), (4.5, None)]


@given(cut=st.integers(0, 400), rows=st.integers(1, 3))
def test_a_torn_tail_leaves_every_whole_record_before_it(cut: int, rows: int) -> None:
    data = segment(SCHEMA, record("01a", rows), record("01b", rows))
    ends = [len(segment(SCHEMA)), len(segment(SCHEMA, record("01a", rows))), len(data)]
    scan = Scan(data[: min(cut, len(data))])
    found = [entry for entry in scan if isinstance(entry, Record)]
    assert len(found) == sum(end <= cut for end in ends[1:])


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_read_as_a_record(place: int, bit: int) -> None:
    whole = [SCHEMA, record("01a"), record("01b"), record("01c")]
    data = bytearray(segment(*whole))
    data[place % len(data)] ^= 1 << bit
    found = list(Scan(bytes(data)))
    assert all(entry in whole for entry in found)
    assert len(found) < len(whole)


def test_a_damaged_frame_costs_only_itself() -> None:
    data = bytearray(segment(SCHEMA, record("01a"), record("01b")))
    data[len(segment(SCHEMA)) + 20] ^= 1
    scan = Scan(bytes(data))
    assert [entry.prediction_id for entry in scan if isinstance(entry, Record)] == ["01b"]
    assert (scan.damaged, scan.torn) == (1, 0)


def test_a_file_that_is_no_segment_holds_nothing() -> None:
    scan = Scan(b"something else")
    assert list(scan) == []
    assert scan.torn == 14


def test_a_torn_tail_is_told(tmp_path: Path) -> None:
    path = tmp_path / "0.seg"
    path.write_bytes(segment(SCHEMA, record())[:-3])
    found = SegmentFolder(tmp_path).read(path)
    assert (found.rows, "torn off" in found.damage) == ((), True)


def test_a_damaged_schema_costs_the_records_of_its_version_only(tmp_path: Path) -> None:
    other = msgspec.structs.replace(SCHEMA, version="thyroid:2")
    data = bytearray(segment(SCHEMA, record("01a"), other, record("01b", version="thyroid:2")))
    data[20] ^= 1
    path = tmp_path / "0.seg"
    path.write_bytes(data)
    found = SegmentFolder(tmp_path).read(path)
    assert [row.prediction_id for row in rows_of(found.rows)] == ["01b"]
    assert found.damage == "0 bytes torn off, 1 frames damaged, 1 without their schema"


def test_a_record_without_its_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.seg"
    path.write_bytes(segment(record()))
    with pytest.raises(CorruptArtifact, match="not its schema"):
        SegmentFolder(tmp_path).read(path)


def test_a_record_that_does_not_fit_its_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.seg"
    path.write_bytes(segment(SCHEMA, msgspec.structs.replace(record(), inputs=b"xyz")))
    with pytest.raises(CorruptArtifact, match="does not fit"):
        SegmentFolder(tmp_path).read(path)


def test_a_living_writers_segment_is_left_alone(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "a")
    writer.append(SCHEMA, record())
    writer.flush()
    assert SegmentFolder(tmp_path).sealed() == []
    writer.close()
    assert len(SegmentFolder(tmp_path).sealed()) == 1


def test_a_segment_is_sealed_by_size_and_the_next_describes_itself_again(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "a", max_bytes=10)
    for name in ("01a", "01b"):
        writer.append(SCHEMA, record(name))
        writer.flush()
    writer.sync()
    assert [seq for _, seq, _ in SegmentFolder(tmp_path).sealed()] == [0, 1]
    assert ids_in(tmp_path) == ["01a", "01b"]


def test_zeros_that_a_power_cut_left_at_the_end_are_torn_off(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "000000000000.seg").write_bytes(segment(SCHEMA, record()) + bytes(64))
    assert ids_in(tmp_path) == ["01a"]
    scan = Scan(segment(SCHEMA, record()) + bytes(64))
    assert len(list(scan)) == 2
    assert (scan.torn, scan.damaged) == (64, 0)


def _fail(descriptor: int) -> None:
    raise OSError(5, "Input/output error")


def test_a_segment_whose_sync_failed_takes_no_more_and_is_never_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SegmentWriter(tmp_path / "a", retry_after=0.0)
    writer.append(SCHEMA, record("01a"))
    writer.flush()
    with monkeypatch.context() as broken:
        broken.setattr("os.fdatasync", _fail)
        writer.sync()
        assert (writer.sync_failures, writer.trouble) == (1, "Input/output error")
        writer.sync()
        assert writer.sync_failures == 1
    # Its descriptor is still open: a write that was under way meets its own file and nothing else.
    writer.append(SCHEMA, record("01b"))
    assert writer.flush()
    writer.sync()
    assert writer.sync_failures == 1
    [(_, seq, path)] = SegmentFolder(tmp_path).sealed()
    assert (seq, [row.prediction_id for row in rows_of(SegmentFolder(tmp_path).read(path).rows)]) == (0, ["01a"])
    writer.close()
    assert ids_in(tmp_path) == ["01a", "01b"]


def test_a_failed_sync_is_known_to_whoever_wrote_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path / "a", retry_after=0.0)
    writer.append(SCHEMA, record("01a"))
    writer.flush()
    with monkeypatch.context() as broken:
        broken.setattr("os.fdatasync", _fail)
        writer.sync()
    assert writer.mark != writer.sync_failures
    writer.append(SCHEMA, record("01b"))
    writer.flush()
    writer.sync()
    assert writer.mark == writer.sync_failures
    writer.close()


def test_a_sync_brings_the_segments_name_to_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path / "a")
    writer.append(SCHEMA, record("01a"))
    writer.flush()
    synced: list[str] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr("os.fsync", noted)
    writer.sync()
    writer.sync()
    assert synced == [str(tmp_path / "a"), str(tmp_path)]
    writer.close()


def test_a_log_as_large_as_it_may_be_drops_and_counts_until_there_is_room(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "a")
    store = SegmentFolder(tmp_path)
    writer.room = 1000
    for number in range(20):
        writer.append(SCHEMA, record(f"{number:08d}"))
        writer.flush()
    assert 0 < writer.dropped < 20
    assert writer.written + writer.dropped == 20
    assert writer.trouble
    # What it did write, the schema and the magic line, is what it is measured by.
    assert 0 < store.size() < 1000 + 200
    writer.room = 1000
    writer.append(SCHEMA, record("after"))
    assert writer.flush()
    assert not writer.trouble
    writer.close()
    assert ids_in(tmp_path)[-1] == "after"
    for _, _, path in store.sealed():
        store.remove(path)
    assert store.size() == 0


def test_a_segment_is_sealed_by_age(tmp_path: Path) -> None:
    now = [0.0]
    writer = SegmentWriter(tmp_path / "a", max_age=5.0, clock=lambda: now[0])
    writer.append(SCHEMA, record())
    writer.flush()
    now[0] = 4.9
    writer.tidy()
    writer.sync()
    assert SegmentFolder(tmp_path).sealed() == []
    now[0] = 5.0
    writer.tidy()
    assert writer.needs_sync()
    writer.sync()
    assert ids_in(tmp_path) == ["01a"]


def test_a_removed_segment_takes_its_empty_folder_along_and_a_living_writer_makes_it_anew(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "a", max_bytes=10)
    store = SegmentFolder(tmp_path)
    for name in ("01a", "01b"):
        writer.append(SCHEMA, record(name))
        assert writer.flush()
        writer.sync()
        [(_, _, path)] = store.sealed()
        store.remove(path)
        assert not path.parent.exists()


def test_no_segments_at_all_are_none(tmp_path: Path) -> None:
    assert SegmentFolder(tmp_path / "nowhere").sealed() == []


def test_a_dead_writers_empty_segment_is_thrown_away(tmp_path: Path) -> None:
    leftover = tmp_path / "a" / "000000000000.open"
    leftover.parent.mkdir()
    leftover.write_bytes(MAGIC)
    assert SegmentFolder(tmp_path).sealed() == []
    assert not leftover.exists()


_KILLED = """
import os, sys
from pathlib import Path
from tests.unit.adapters.segments.test_segments import SCHEMA, record
from lockgate.adapters.segments.writer import SegmentWriter

writer = SegmentWriter(Path(sys.argv[1]))
number = 0
while True:
    name = f"{number:08d}"
    writer.append(SCHEMA, record(name))
    assert writer.flush()
    # The answer leaves only now.
    os.write(1, name.encode() + b"\\n")
    number += 1
"""


def test_every_answer_of_a_killed_writer_is_in_its_log(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    answered = [process.stdout.readline().strip().decode() for _ in range(500)]
    process.send_signal(signal.SIGKILL)
    answered += [line.strip().decode() for line in process.stdout if line.endswith(b"\n")]
    process.wait()
    process.stdout.close()
    logged = ids_in(tmp_path)
    assert logged[: len(answered)] == answered
    assert len(logged) <= len(answered) + 1


_FULL = """
import sys
from pathlib import Path
from tests.unit.adapters.segments.test_segments import fill

sys.exit(fill(Path(sys.argv[1])))
"""


def fill(folder: Path) -> int:
    """Write until the disk takes no more, then on a larger disk; gives 0 when the counts say so."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 1 << 30))
    now = [0.0]
    writer = SegmentWriter(folder, clock=lambda: now[0])
    results: list[bool] = []
    for number in range(40):
        writer.append(SCHEMA, record(f"{number:08d}"))
        results.append(writer.flush())
    assert writer.dropped == results.count(False) > 0
    assert writer.trouble
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    now[0] = 10.0
    writer.append(SCHEMA, record("after"))
    assert writer.flush()
    assert not writer.trouble
    writer.close()
    return 0


def test_a_full_disk_drops_records_counts_them_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _FULL, str(tmp_path / "a")], check=True, timeout=30)
    logged = ids_in(tmp_path)
    assert logged[0] == "00000000"
    assert logged[-1] == "after"
    assert len(logged) < 40


def test_writing_while_another_thread_syncs_loses_nothing(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "a", max_bytes=500)
    stop = threading.Event()

    def keep_syncing() -> None:
        while not stop.is_set():
            writer.sync()

    thread = threading.Thread(target=keep_syncing)
    thread.start()
    names = [f"{number:08d}" for number in range(300)]
    for name in names:
        writer.append(SCHEMA, record(name))
        assert writer.flush()
    time.sleep(0.01)
    stop.set()
    thread.join()
    writer.close()
    assert ids_in(tmp_path) == names
