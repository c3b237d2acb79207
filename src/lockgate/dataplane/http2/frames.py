"""Frames of RFC 9113: their numbers, and how those that a server sends are written."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11

#: What the errors of HTTP/2 are called.
ERRORS = {
    PROTOCOL_ERROR: "http2_protocol_error",
    FLOW_CONTROL_ERROR: "http2_flow_control_error",
    STREAM_CLOSED: "http2_stream_closed",
    FRAME_SIZE_ERROR: "http2_frame_size_error",
    COMPRESSION_ERROR: "http2_compression_error",
    ENHANCE_YOUR_CALM: "http2_enhance_your_calm",
}

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

#: What both sides start with before any settings.
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
DEFAULT_TABLE = 4_096
LARGEST_FRAME = (1 << 24) - 1
LARGEST_WINDOW = LARGEST_STREAM = (1 << 31) - 1

#: Length and kind in one number, flags, stream.
HEAD = struct.Struct(">IBI")
HEAD_SIZE = HEAD.size
pack_head = HEAD.pack
NUMBER = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_GOAWAY = struct.Struct(">II")


class Fault(Exception):
    """What the other side did ends the connection"""

    def __init__(self, code: int, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__(sentence)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One whole frame."""
    return pack_head(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """SETTINGS with these values."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a frame in their order, checked.

    Raises:
        Fault: its length fits no settings, or a value is not allowed.
    """
    if len(payload) % _SETTING.size:
        raise Fault(FRAME_SIZE_ERROR, "SETTINGS has a length that fits no settings")
    found = [(name, value) for name, value in _SETTING.iter_unpack(payload)]
    for name, value in found:
        if name == ENABLE_PUSH and value > 1:
            raise Fault(PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise Fault(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if name == MAX_FRAME_SIZE and not DEFAULT_FRAME <= value <= LARGEST_FRAME:
            raise Fault(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of its range")
    return found


def goaway(last: int, code: int, sentence: str = "") -> bytes:
    """GOAWAY: streams up to ``last`` are still answered."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last, code) + sentence.encode())


def window_update(stream: int, more: int) -> bytes:
    """WINDOW_UPDATE: so many bytes more may come."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(more))


def reset(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding; raises Fault where the padding is longer than the frame."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise Fault(FRAME_SIZE_ERROR, "a padded frame is empty")
    padding = payload[0]
    if padding >= len(payload):
        raise Fault(PROTOCOL_ERROR, "a frame's padding is longer than the frame")
    return payload[1 : len(payload) - padding]
