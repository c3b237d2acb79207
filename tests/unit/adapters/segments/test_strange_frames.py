"""Frames whose checksum holds and whose contents do not: nothing is guessed."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lockgate.adapters.segments.frames import MAGIC, Batch, Other
from lockgate.adapters.segments.store import SegmentFolder
from lockgate.base.errors import CorruptArtifact
from tests.logged import rows_of
from tests.unit.adapters.segments.test_segments import SCHEMA, segment


def test_a_frame_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.seg"
    payload = msgspec.msgpack.encode(["novelty", 1])
    path.write_bytes(MAGIC + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    with pytest.raises(CorruptArtifact, match="none that is known"):
        SegmentFolder(tmp_path).read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": b"xyz"},
        {"scores": b"xyz"},
        {"labels": b"\x00"},
        {"labels": b"\x00\x07"},
        {"labels": ["well"]},
        {"counts": [1]},
        {"counts": [1, 2]},
        {"inputs": []},
        {"inputs": [["a", "b"], ["a", "b"]]},
        {"counts": [3, -1]},
        {"prediction_ids": []},
        {"others": [Other("dose", "<f4", (1,), b"xyz")]},
        {"others": [Other("dose", "<f4", (), ["a", "b"])]},
    ],
)
def test_a_batch_that_does_not_fit_its_schema_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    values = np.zeros((2, 2), "<f4").tobytes()
    batch = Batch(["01a", "01b"], [], 0, "thyroid.prod", "thyroid:1", 3, "live", values, values, b"\x00\x01")
    path = tmp_path / "0.seg"
    path.write_bytes(segment(SCHEMA, batch))
    assert [row.predicted for row in rows_of(SegmentFolder(tmp_path).read(path).rows)] == ["sick", "well"]
    path.write_bytes(segment(SCHEMA, msgspec.structs.replace(batch, **changes)))
    with pytest.raises(CorruptArtifact, match="does not fit"):
        SegmentFolder(tmp_path).read(path)


def test_what_one_batch_has_too_much_is_not_read_as_the_next_ones(tmp_path: Path) -> None:
    def batch(name: str, inputs: int) -> Batch:
        scores = np.zeros(2, "<f4").tobytes()
        return Batch([name], [], 0, "thyroid.prod", "thyroid:1", 3, "live", bytes(4 * inputs), scores, b"\x00")

    path = tmp_path / "0.seg"
    path.write_bytes(segment(SCHEMA, batch("01a", 3), batch("01b", 1)))
    with pytest.raises(CorruptArtifact, match="01a does not fit"):
        SegmentFolder(tmp_path).read(path)


def test_a_schema_of_a_type_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.seg"
    path.write_bytes(segment(msgspec.structs.replace(SCHEMA, score_dtype="novelty")))
    with pytest.raises(CorruptArtifact, match="cannot be used"):
        SegmentFolder(tmp_path).read(path)
