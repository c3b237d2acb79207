"""What goes over a runner's socket: a frame is a header of JSON and the bytes of its columns. Nothing is unpickled.

    u32 length of the header, u64 length of the body, little-endian · header · body

The header names each column of the body: ``[name, dtype, shape]``, where dtype is NumPy's (``<f8``), or ``text`` for a
JSON list of strings in row-major order; each column begins at a multiple of 8.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np

PREFIX = struct.Struct("<IQ")
#: Most bytes of a header, and of a body.
MOST_HEADER = 16 << 20
MOST_BODY = 4 << 30

TEXT = "text"
#: Under this name all columns of a model come as one matrix.
MATRIX = ""
_KINDS = "biuf"
_PAD = bytes(8)

Columns = dict[str, Any]


class BrokenFrame(Exception):
    """These bytes are no frame"""


def pack(header: dict[str, Any], columns: Columns) -> list[Any]:
    """A frame as buffers, one behind the other.

    Args:
        header: JSON values; ``columns`` is taken.
        columns: name -> array of numbers, of bool, or of str as objects.
    """
    named: list[Any] = []
    buffers: list[Any] = []
    size = 0
    for name, array in columns.items():
        if array.dtype.kind in _KINDS:
            if array.dtype.byteorder == ">":
                array = array.astype(array.dtype.newbyteorder("<"))
            data: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""
            dtype = array.dtype.str
        else:
            data, dtype = json.dumps(array.ravel().tolist()).encode(), TEXT
        named.append([name, dtype, array.shape, len(data)])
        buffers.append(data)
        over = -len(data) % 8
        if over:
            buffers.append(_PAD[:over])
        size += len(data) + over
    head = json.dumps({**header, "columns": named}, separators=(",", ":")).encode()
    return [PREFIX.pack(len(head), size) + head, *buffers]


def sizes(prefix: Any) -> tuple[int, int]:
    """Length of header and body; raises BrokenFrame when they cannot be meant."""
    header, body = PREFIX.unpack(prefix)
    if header > MOST_HEADER or body > MOST_BODY:
        raise BrokenFrame(f"a frame of {header} + {body} bytes")
    return header, body


def unpack(header: Any, body: Any) -> tuple[dict[str, Any], Columns]:
    """A frame's header, and its columns as arrays on the body's memory; raises BrokenFrame."""
    try:
        said: dict[str, Any] = json.loads(bytes(header))
        columns: Columns = {}
        at = 0
        for name, dtype, shape, length in said.pop("columns"):
            columns[name] = _column(dtype, shape, memoryview(body)[at : at + length])
            at += length + -length % 8
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BrokenFrame(f"a frame cannot be read: {error}") from error
    return said, columns


def _column(dtype: str, shape: list[int], data: memoryview) -> Any:
    if dtype == TEXT:
        texts = json.loads(bytes(data))
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a text that is none")
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
        return array.reshape(shape)
    kind = np.dtype(dtype)
    if kind.kind not in _KINDS:
        raise ValueError(f"values of type {dtype}")
    return np.frombuffer(data, dtype=kind).reshape(shape)


def send(sock: socket.socket, header: dict[str, Any], columns: Columns) -> None:
    """Write a frame to a blocking socket; raises OSError."""
    buffers = pack(header, columns)
    if sum(map(len, buffers)) < 1 << 16:
        sock.sendall(b"".join(buffers))
        return
    for buffer in buffers:
        sock.sendall(buffer)


def receive(sock: socket.socket) -> tuple[dict[str, Any], Columns] | None:
    """Read a frame from a blocking socket, its arrays writable; None at its end.

    Raises:
        BrokenFrame: what came is none, or the end came in the middle of one.
        OSError: the socket failed, or its timeout passed.
    """
    prefix = _exactly(sock, PREFIX.size)
    if prefix is None:
        return None
    header, body = sizes(prefix)
    head = _exactly(sock, header)
    data = _exactly(sock, body)
    if head is None or data is None:
        raise BrokenFrame("the end came in the middle of a frame")
    return unpack(head, data)


def _exactly(sock: socket.socket, count: int) -> bytearray | None:
    data = bytearray(count)
    view = memoryview(data)
    at = 0
    while at < count:
        got = sock.recv_into(view[at:])
        if got == 0:
            return None
        at += got
    return data
