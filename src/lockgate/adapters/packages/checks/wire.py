"""What a cage and its keeper say to each other: frames of JSON, or of a table as Arrow writes it; never a pickle."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pyarrow as pa

_HEAD = struct.Struct("<cQ")
#: Bytes of one frame, at most.
_MOST = 512 << 20


class Broken(Exception):
    """The other side sent something that is no frame"""


def say(wire: socket.socket, value: Any) -> None:
    """Send a JSON value."""
    data = json.dumps(value).encode()
    wire.sendall(_HEAD.pack(b"J", len(data)) + data)


def show(wire: socket.socket, table: Any) -> None:
    """Send an Arrow table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    wire.sendall(_HEAD.pack(b"A", data.size))
    wire.sendall(data)


def hear(wire: socket.socket) -> Any:
    """The next value or table; None at the end.

    Raises:
        Broken: no frame, or too large a one.
        TimeoutError: nothing came within the socket's own time.
    """
    head = _read(wire, _HEAD.size)
    if head is None:
        return None
    kind, length = _HEAD.unpack(head)
    if kind not in (b"J", b"A") or length > _MOST:
        raise Broken(f"a frame of kind {kind!r} with {length} bytes")
    data = _read(wire, length)
    if data is None:
        raise Broken("a frame that ends too early")
    try:
        return json.loads(data) if kind == b"J" else pa.ipc.open_stream(pa.py_buffer(data)).read_all()
    except (ValueError, pa.ArrowException, RecursionError) as error:
        raise Broken(str(error)[:200]) from error


def _read(wire: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = wire.recv(min(1 << 20, count - len(parts)))
        if not part:
            if parts:
                raise Broken("a frame that ends too early")
            return None
        parts += part
    return bytes(parts)
