"""Tensors as raw bytes, as the binary extension over HTTP and ``raw_input_contents`` over gRPC carry them.

Numbers are little-endian and in row-major order, truths are one byte each, texts are UTF-8 behind a length of four
bytes. What comes out is what JSON would have given: values that are no numbers are told as missing, for the signature
to allow or refuse.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.dataplane.refusal import bad_input, quoted

_NUMBERS: dict[str, Any] = {
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
}
#: Every datatype that has a raw form.
KNOWN = frozenset(_NUMBERS) | {"BOOL", "BYTES"}
_LENGTH = struct.Struct("<I")
#: Up to here Python's own sum is quicker than any of NumPy's.
_FEW = 40


def decode(datatype: str, data: bytes | memoryview, count: int, name: str) -> NDArray[Any] | list[Any]:
    """The values of input ``name``, whose shape promises ``count`` of them.

    Returns:
        An array of the datatype's own type (float32 for FP16), shape (count,), which may share memory with ``data``
        and is not to be written to; a list of str for BYTES; or a list with None for NaN where there is any.

    Raises:
        Refused: an unknown datatype, another number of bytes than the shape says, infinity, a truth that is neither 0
            nor 1, or text that is not UTF-8.
    """
    if datatype == "BYTES":
        return _texts(data, count, name)
    if datatype == "BOOL":
        flags = np.frombuffer(_sized(data, count, datatype, name), np.uint8)
        if count and flags.max() > 1:
            raise bad_input(f"input {quoted(name)} has a BOOL of {int(flags.max())}", "send one byte each, 0 or 1")
        return flags.view(np.bool_)
    dtype = _NUMBERS.get(datatype)
    if dtype is None:
        raise bad_input(
            f"input {quoted(name)} has the datatype {quoted(datatype)}", "use one of " + ", ".join(sorted(KNOWN))
        )
    array: NDArray[Any] = np.frombuffer(_sized(data, count * dtype.itemsize, datatype, name), dtype)
    if not array.flags.aligned:
        array = array.copy()
    return checked(array, name) if dtype.kind == "f" else array


def checked(array: NDArray[Any], name: str) -> NDArray[Any] | list[Any]:
    """Floats of input ``name`` as a signature can judge them: as they are, or a list with None where one is NaN.

    Raises:
        Refused: one of them is infinite.
    """
    if array.dtype.itemsize == 2:
        array = array.astype(np.float32)
    finite = math.isfinite(sum(array.tolist())) if len(array) <= _FEW else _surely_finite(array)
    if finite or np.isfinite(array).all():
        return array
    if np.isinf(array).any():
        raise bad_input(f"input {quoted(name)} holds infinity", "every value has to be finite")
    return [None if value != value else value for value in array.tolist()]


# As a decorator this takes half the time of a `with`, and every request comes by here.
@np.errstate(over="ignore", invalid="ignore")
def _surely_finite(array: NDArray[Any]) -> bool:
    """True only where all values are finite: so is the sum of their squares, and one product is quickly made."""
    return math.isfinite(array.dot(array))


def encode(values: NDArray[Any] | Sequence[Any], datatype: str) -> bytes:
    """Values in their raw form; ``datatype`` is one of `KNOWN`."""
    if datatype == "BYTES":
        # Labels are few and come again and again.
        framed = {value: _framed(value) for value in set(values)}
        return b"".join([framed[value] for value in values])
    dtype = np.dtype(np.bool_) if datatype == "BOOL" else _NUMBERS[datatype]
    return np.asarray(values, dtype=dtype).tobytes()


def _framed(value: Any) -> bytes:
    text = value if isinstance(value, bytes) else str(value).encode()
    return _LENGTH.pack(len(text)) + text


def _sized(data: bytes | memoryview, size: int, datatype: str, name: str) -> bytes | memoryview:
    if len(data) != size:
        raise bad_input(
            f"input {quoted(name)} has {len(data)} bytes of {datatype}, its shape says {size}",
            "the product of the shape is the number of values",
        )
    return data


def _texts(data: bytes | memoryview, count: int, name: str) -> list[str]:
    found: list[str] = []
    at, end = 0, len(data)
    while at < end and len(found) < count:
        start = at + 4
        if start > end:
            break
        (length,) = _LENGTH.unpack_from(data, at)
        at = start + length
        if at > end:
            break
        try:
            found.append(str(data[start:at], "utf-8"))
        except UnicodeDecodeError as error:
            raise bad_input(f"input {quoted(name)} has text {len(found)} that is not UTF-8") from error
    if at != end or len(found) != count:
        raise bad_input(
            f"input {quoted(name)} is not {count} texts in {end} bytes",
            "each text follows its length in bytes: four bytes, little-endian",
        )
    return found
