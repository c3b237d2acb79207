"""Records as JSON text and back, strictly."""

from __future__ import annotations

import json
from threading import Lock
from typing import Any, TypeVar

import msgspec

from lockgate.base.errors import Invalid

R = TypeVar("R")


def encode(record: Any) -> str:
    """A record, or any JSON-able value, as JSON text. A number that is not finite becomes null."""
    try:
        return msgspec.json.encode(record, enc_hook=_refuse).decode()
    except (UnicodeEncodeError, OverflowError) as error:
        raise Invalid(f"{type(record).__name__} holds a value that cannot be kept: {error}") from error


def decode(kind: type[R], text: str) -> R:
    """Read a record that `encode` wrote; raises Invalid where a value is not of its field's type."""
    try:
        return _decoder(kind).decode(text)
    except msgspec.MsgspecError as error:
        raise Invalid(f"this is no {kind.__name__}: {error}") from error


def plain(value: Any) -> Any:
    """A record as the JSON values that it is kept as."""
    return json.loads(encode(value))


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_learning = Lock()


def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    found = _decoders.get(kind)
    if found is None:
        # msgspec learns a dataclass, and those inside it, at first use, and crashes when two threads make it do so at
        # once.
        with _learning:
            found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found


def _refuse(value: Any) -> Any:
    # NumPy's scalars know how to become Python's own; anything else has no business in a record.
    unboxed = getattr(value, "item", None)
    if unboxed is None or getattr(value, "shape", None) != ():
        raise Invalid(f"a {type(value).__name__} cannot be kept in a record")
    return unboxed()
