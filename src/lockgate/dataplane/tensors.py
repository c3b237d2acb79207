"""JSON arrays into flat NumPy arrays: nested or flat data, strictly what was declared.

`values` gives an array where every value has the declared type, and a plain list where some do not; what a null or a
stranger means is for the signature to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import simdjson
from numpy.typing import NDArray

from lockgate.dataplane.refusal import bad_input, quoted

#: From this many bytes on, simdjson is faster than building Python numbers.
_LARGE = 2000
#: More elements than any body within the limits can hold.
_MOST = 1 << 31

FLOATS = frozenset({"FP16", "FP32", "FP64"})
#: Smallest and largest number of each type of whole numbers.
WHOLE_LIMITS = {
    "INT8": (-(2**7), 2**7 - 1),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT8": (0, 2**8 - 1),
    "UINT16": (0, 2**16 - 1),
    "UINT32": (0, 2**32 - 1),
    "UINT64": (0, 2**64 - 1),
}
WHOLE = frozenset(WHOLE_LIMITS)
KNOWN = FLOATS | WHOLE | {"BOOL", "BYTES"}

_FLAT: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(list[kind]) for kind in (float, int, bool, str)
}
_NESTED: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(list[list[kind]]) for kind in (float, int, bool, str)
}
_anything = msgspec.json.Decoder()


class Given(Protocol):
    """One input, whatever brought it: what it says of itself beside its values."""

    name: str
    shape: list[int]
    datatype: str


class Tensor(msgspec.Struct):
    """One input of an Open Inference Protocol request, its data not read yet."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw
    parameters: dict[str, str | int | float | bool] | None = None


def count_of(tensor: Given) -> int:
    """How many values the shape promises; raises Refused for a shape that no tensor can have."""
    shape = tensor.shape
    if not shape or min(shape) < 0:
        raise bad_input(f"input {quoted(tensor.name)} has the shape {shape}", "a shape lists rows first, all from 0 on")
    count = math.prod(shape)
    if count > _MOST:
        raise bad_input(f"input {quoted(tensor.name)} has the shape {shape}, which is too large")
    return count


def values(tensor: Tensor) -> NDArray[Any] | list[Any]:
    """The data in row-major order.

    Returns:
        An array of float64, int64 (uint64 beyond it) or bool, shape (count,); a list of str for BYTES; or a list of
        mixed values when some are null or of another type.

    Raises:
        Refused: an unknown datatype, ragged data, or not as many values as the shape says.
    """
    count = count_of(tensor)
    datatype = tensor.datatype
    if datatype not in KNOWN:
        raise bad_input(
            f"input {quoted(tensor.name)} has the datatype {quoted(datatype)}",
            "use one of " + ", ".join(sorted(KNOWN)),
        )
    raw = bytes(tensor.data)
    box: _Array | None = None
    if datatype in FLOATS:
        box = _large(raw, tensor.shape, count, "d", np.float64) or _plain(raw, float, np.float64)
    elif datatype in WHOLE:
        box = _large(raw, tensor.shape, count, "i", np.int64) or _plain(raw, int, None)
    elif datatype == "BOOL":
        box = _plain(raw, bool, np.bool_)
    else:
        box = _plain(raw, str, np.object_)
    found: NDArray[Any] | list[Any] = _mixed(tensor, raw) if box is None else box.values
    if len(found) != count:
        raise bad_input(
            f"input {quoted(tensor.name)} has {len(found)} values but its shape {tensor.shape} says {count}",
            "the product of the shape is the number of values",
        )
    if datatype in WHOLE and isinstance(found, np.ndarray) and count:
        check_whole(tensor, found)
    return found


class _Array:
    """A found array; true whatever it holds, which an ndarray is not."""

    __slots__ = ("values",)

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values


def _plain(raw: bytes, kind: type, dtype: Any) -> _Array | None:
    nested = raw[1:32].lstrip()[:1] == b"["
    try:
        found = (_NESTED if nested else _FLAT)[kind].decode(raw)
        array = np.array(found, dtype=dtype)
    except (msgspec.ValidationError, ValueError, OverflowError):
        return None
    # Ragged lists of objects become an array of lists rather than an error.
    if array.ndim != 1 + nested or (not len(found) and dtype is None):
        return None
    return None if array.dtype.kind == "O" and kind is int else _Array(array.ravel())


#: Used again, since the memory that a new one needs costs more than the parsing. It refuses while a document of it is
#: still held, which nobody here does.
_parser = simdjson.Parser()


def _large(raw: bytes, shape: Sequence[int], count: int, code: str, dtype: Any) -> _Array | None:
    """A large array of numbers without a Python object for each; None where its form is not exactly as expected."""
    if len(raw) < _LARGE:
        return None
    try:
        array = _numbers(_parser.parse(raw), _brackets(raw), shape, code, dtype)
    except (ValueError, TypeError, RuntimeError):
        return None
    return _Array(array) if array is not None and len(array) == count else None


def _brackets(raw: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(raw, dtype=np.uint8) == ord("[")))


def _numbers(data: Any, brackets: int, shape: Sequence[int], code: str, dtype: Any) -> NDArray[Any] | None:
    """The numbers of an array in which so many arrays begin, itself among them; raises what simdjson does."""
    if brackets != 1:
        if len(shape) != 2 or brackets != 1 + shape[0] or len(data) != shape[0]:
            return None
        width = shape[1]
        if any(not isinstance(row, simdjson.Array) or len(row) != width for row in data):
            return None
    return np.frombuffer(data.as_buffer(of_type=code), dtype=dtype)


class Block(msgspec.Struct):
    """The one input of a request that holds nothing else, its values read."""

    name: str
    shape: list[int]
    datatype: str
    values: NDArray[np.float64]


_OF_BLOCK = {"name", "shape", "datatype", "data"}


def block(body: bytes) -> Block | None:
    """A whole request read in one pass when it is one large tensor of floats and nothing else; None for any other.

    What is None here is no error: whoever reads thoroughly says what it is.
    """
    try:
        document: Any = _parser.parse(body)
        # A key that comes twice is among the keys twice, and a request with one is nothing for this way.
        if list(document.keys()) != ["inputs"]:
            return None
        inputs = document["inputs"]
        if len(inputs) != 1:
            return None
        tensor = inputs[0]
        keys: list[str] = list(tensor.keys())
        if len(keys) != len(_OF_BLOCK) or set(keys) != _OF_BLOCK:
            return None
        name, shape, datatype = tensor["name"], list(tensor["shape"]), tensor["datatype"]
        if type(name) is not str or datatype not in FLOATS or not shape or any(type(size) is not int for size in shape):
            return None
        # The arrays of inputs and of the shape begin with brackets too; one in a name is not worth telling apart.
        found = _numbers(tensor["data"], _brackets(body) - 2, shape, "d", np.float64)
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError):
        return None
    if found is None or min(shape) < 0 or len(found) != math.prod(shape):
        return None
    return Block(name, shape, datatype, found)


#: What values of a datatype may be besides null; a float's are looked at with the column they belong to.
_STRICT: dict[str, type] = {"BOOL": bool} | dict.fromkeys(WHOLE, int)


def _mixed(tensor: Tensor, raw: bytes) -> list[Any]:
    """Data in which some values are null or of another type than declared."""
    found = _flattened(tensor, _anything.decode(raw))
    wanted = _STRICT.get(tensor.datatype)
    for value in found:
        if wanted is not None and value is not None and type(value) is not wanted:
            raise bad_input(f"input {quoted(tensor.name)}: {quoted(value)} is no {tensor.datatype}")
    return found


def _flattened(tensor: Tensor, data: Any) -> list[Any]:
    """Any depth of lists as one list; ragged ones are refused."""
    if not isinstance(data, list):
        raise bad_input(f"the data of input {quoted(tensor.name)} is not an array")
    level: list[Any] = data
    while level and any(isinstance(item, list) for item in level):
        if not all(isinstance(item, list) and len(item) == len(level[0]) for item in level):
            raise bad_input(
                f"the data of input {quoted(tensor.name)} is ragged", "every row needs the same number of values"
            )
        level = [value for item in level for value in item]
    return level


def check_whole(tensor: Given, found: NDArray[Any]) -> None:
    """Refuse whole numbers that the declared datatype cannot hold."""
    least, most = WHOLE_LIMITS[tensor.datatype]
    low, high = int(found.min()), int(found.max())
    if low < least or high > most:
        outside = low if low < least else high
        raise bad_input(f"input {quoted(tensor.name)}: {outside} does not fit {tensor.datatype}")
