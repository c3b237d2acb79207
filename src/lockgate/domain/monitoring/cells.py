"""A row of whole numbers in few bytes: most counts are small, most of their bytes nought."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.components import Ints

_MAGIC = b"LGPR\x01"
_KEY = 8
_HEAD = len(_MAGIC) + _KEY + 1 + 4
_WIDTHS = (1, 2, 4, 8)
_MOST_CELLS = 4_000_000


def pack(key: bytes, cells: Ints) -> bytes:
    """``key`` (eight bytes) and an int64 vector, shape (cells,)."""
    # Zigzag: a small negative number becomes a small positive one.
    folded = ((cells << 1) ^ (cells >> 63)).astype("<u8")
    largest = int(folded.max(initial=0))
    width = next(width for width in _WIDTHS if largest < 1 << (8 * width))
    # One plane a byte of the number: the high planes are nearly all nought and shrink to nothing.
    planes = folded.view(np.uint8).reshape(-1, 8)[:, :width].T
    body = zlib.compress(planes.tobytes(), 4)
    return _MAGIC + key + bytes([width]) + len(cells).to_bytes(4, "little") + body


def unpack(data: bytes) -> tuple[bytes, Ints]:
    """What `pack` took; raises Invalid when the bytes are something else."""
    if len(data) < _HEAD or not data.startswith(_MAGIC):
        raise Invalid("these bytes are not a profile")
    key = data[len(_MAGIC) : len(_MAGIC) + _KEY]
    width = data[len(_MAGIC) + _KEY]
    length = int.from_bytes(data[_HEAD - 4 : _HEAD], "little")
    if width not in _WIDTHS or length > _MOST_CELLS:
        raise Invalid("this profile is damaged")
    unpacker = zlib.decompressobj()
    try:
        # One byte of room more than is right, so that a longer body shows.
        body = unpacker.decompress(data[_HEAD:], width * length + 1)
    except zlib.error as error:
        raise Invalid("this profile is damaged") from error
    if len(body) != width * length or not unpacker.eof or unpacker.unused_data:
        raise Invalid("this profile is damaged")
    planes = np.zeros((length, 8), dtype=np.uint8)
    planes[:, :width] = np.frombuffer(body, dtype=np.uint8).reshape(width, length).T
    folded = planes.reshape(-1).view("<u8").astype(np.uint64)
    return key, (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)


def add_packed(parts: Iterable[bytes]) -> bytes:
    """The sum of encoded profiles of one baseline, which need not be at hand.

    Raises:
        Invalid: no part, a damaged one, or parts of different baselines.
    """
    found = [unpack(part) for part in parts]
    if not found:
        raise Invalid("there is no profile to add up")
    key, total = found[0]
    for other, cells in found[1:]:
        if other != key or len(cells) != len(total):
            raise Invalid("profiles of different baselines cannot be added up")
        total = total + cells
    return pack(key, total)
