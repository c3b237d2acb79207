"""The bytes of a segment: a magic line, then frames of length, CRC and payload.

A frame is a `Schema`, which says how a version's values are laid out in what follows, a `Batch` of requests that were
answered together, or a `Record`, which is one answered request and what gateways wrote before there were batches. All
are msgpack. A frame whose CRC does not hold is never given to anybody.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from lockgate.base.errors import CorruptArtifact

MAGIC = b"LGSEG1\n"
#: No writer makes a frame as large as this, so a length beyond it is damage.
MAX_FRAME = 1 << 30

_HEAD = struct.Struct("<II")


class Schema(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="schema"):
    """How the frames of one version are to be read, until another schema of it comes."""

    version: str
    #: "matrix": inputs are one row-major array of bytes; "columns": one list or array of bytes a column.
    layout: str
    #: NumPy type of a matrix's values.
    dtype: str
    names: tuple[str, ...]
    #: How many values of a row belong to each name.
    widths: tuple[int, ...]
    #: NumPy type of the scores.
    score_dtype: str
    #: Class names in the order of the score columns; empty for regression.
    classes: tuple[str, ...]
    positive: str | None
    #: NumPy types of the columns in a batch, empty for text; none at all for a matrix.
    dtypes: tuple[str, ...] = ()
    #: Columns that were asked for and are kept out of the log: personal ones.
    withheld: tuple[str, ...] = ()


class Other(msgspec.Struct, frozen=True, array_like=True):
    """One output of a batch beside scores and labels."""

    name: str
    #: NumPy type, empty for text.
    dtype: str
    #: Shape of one row.
    shape: tuple[int, ...]
    #: Row-major, of all rows.
    values: bytes | list[str]


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """Requests that one call answered. Rows are named as in a `Record`."""

    prediction_ids: list[str]
    #: Rows of each request; empty when each has one.
    counts: list[int]
    #: Microseconds since 1970.
    time_us: int
    endpoint: str
    version: str
    generation: int
    role: str
    #: Of all rows; None where the payload is not in the sample that is kept.
    inputs: bytes | list[bytes | list[str]] | None
    #: Row-major [rows, classes], or [rows, 1] for regression.
    scores: bytes
    #: One a row: places among the schema's classes, of `code_type`, or the labels themselves.
    labels: bytes | list[str] | None
    others: list[Other] = []


class Record(msgspec.Struct, frozen=True, array_like=True, tag="record"):
    """One answered request. Its rows are named ``id`` when it has one, ``id.0``, ``id.1``, … otherwise."""

    prediction_id: str
    #: Microseconds since 1970.
    time_us: int
    endpoint: str
    version: str
    generation: int
    role: str
    rows: int
    inputs: bytes | list[list[Any]]
    #: Row-major [rows, classes], or [rows, 1] for regression.
    scores: bytes
    labels: list[str] | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Schema | Record | Batch)


def code_type(classes: int) -> str:
    """NumPy type of the codes that stand for labels; empty when there are too many classes for codes."""
    return "u1" if classes <= 1 << 8 else "<u2" if classes <= 1 << 16 else ""


def frame(entry: Schema | Record | Batch) -> bytes:
    """The bytes of one entry as they stand in the file."""
    payload = _encoder.encode(entry)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


class Scan:
    """Reads entries from a segment's bytes; afterwards says how much of it was good."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        #: Frames whose CRC did not hold.
        self.damaged = 0
        #: Bytes at the end that are no whole frame.
        self.torn = 0

    def __iter__(self) -> Iterator[Schema | Record | Batch]:
        """Raises CorruptArtifact for a whole frame of a kind that is not known here, such as a later release's."""
        data = memoryview(self._data)
        if bytes(data[: len(MAGIC)]) != MAGIC:
            self.torn = len(data)
            return
        at, end = len(MAGIC), len(data)
        while at + _HEAD.size <= end:
            length, crc = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size
            # A power cut may leave zeros at the end, and the CRC of nothing is zero as well.
            if length == 0 or length > MAX_FRAME or start + length > end:
                break
            at = start + length
            payload = data[start:at]
            # A flipped bit costs its own frame only: the next one proves itself.
            if zlib.crc32(payload) != crc:
                self.damaged += 1
                continue
            try:
                entry = _decoder.decode(payload)
            except msgspec.DecodeError as error:
                raise CorruptArtifact(f"a frame is none that is known here: {error}") from error
            yield entry
        self.torn = end - at
