"""The reading half of an HTTP/2 connection: frame by frame, and an end for whoever breaks the rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lockgate.dataplane.http2 import frames
from lockgate.dataplane.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEAD,
    HEAD_SIZE,
    HEADERS,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Fault,
)
from lockgate.dataplane.http2.headers import MAX_LIST, HeaderReader, Malformed
from lockgate.dataplane.http2.session import CONNECTION_WINDOW, MAX_FRAME, Session
from lockgate.dataplane.http2.shared import MAX_STREAMS, Shared
from lockgate.dataplane.http2.stream import STREAM_WINDOW, Stream

#: Longest block of headers, and the most frames it may come in.
_MAX_BLOCK, _MAX_PIECES = MAX_LIST, 16


class Connection(Session):
    """Reads requests for the application, whose answers its other half sends."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._reader: HeaderReader[Any] = HeaderReader(shared.application.understand)
        self._rest = b""
        self._greeted = False
        # A block of headers whose end has not come: stream, flags, pieces.
        self._block: tuple[int, int, list[bytes]] | None = None
        self._block_size = 0
        self._credit = CONNECTION_WINDOW
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._data,
            HEADERS: self._headers,
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._reset_by_peer,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
            CONTINUATION: self._stray_continuation,
        }

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._now = time.monotonic()
        if self._rest:
            data = self._rest + data
        try:
            at = self._read(data) if self._greeted else self._greet(data)
        except Fault as fault:
            faults, name = self._shared.faults, frames.ERRORS[fault.code]
            faults[name] = faults.get(name, 0) + 1
            self._finish(fault.code, fault.sentence)
            return
        if at < len(data):
            if at or not self._rest:
                self._part_at = self._now
            self._rest = data[at:]
        else:
            self._rest = b""
            self._part_at = 0.0

    def _greet(self, data: bytes) -> int:
        size = len(frames.PREFACE)
        if not frames.PREFACE.startswith(data[:size]):
            raise Fault(PROTOCOL_ERROR, "this is not HTTP/2; gRPC is served here")
        if len(data) < size:
            return 0
        self._greeted = True
        return self._read(data, size)

    def _read(self, data: bytes, at: int = 0) -> int:
        """Handle all whole frames; gives where the first that is not whole begins."""
        end = len(data)
        while end - at >= HEAD_SIZE:
            word, flags, number = HEAD.unpack_from(data, at)
            size = word >> 8
            if size > MAX_FRAME:
                raise Fault(FRAME_SIZE_ERROR, f"a frame is larger than {MAX_FRAME} bytes")
            start = at + HEAD_SIZE
            stop = start + size
            if stop > end:
                break
            at = stop
            kind = word & 0xFF
            number &= LARGEST_STREAM
            payload = data[start:stop]
            if self._block is not None:
                self._continue(kind, flags, number, payload)
                continue
            if not self._settled and kind != frames.SETTINGS:
                raise Fault(PROTOCOL_ERROR, "the first frame is not SETTINGS")
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(flags, number, payload)
            else:
                # Kinds that nobody knows are to be ignored.
                self._annoyed(1)
            if self._over:
                return end
        return at

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & (frames.PADDED | frames.WITH_PRIORITY):
            payload = frames.unpadded(flags, payload)
            if flags & frames.WITH_PRIORITY:
                if len(payload) < 5:
                    raise Fault(FRAME_SIZE_ERROR, "HEADERS is too short for its priority")
                payload = payload[5:]
        if not number & 1:
            raise Fault(PROTOCOL_ERROR, "a request has a stream that callers may not begin")
        if flags & END_HEADERS:
            self._open(flags, number, payload)
        else:
            self._block = (number, flags, [payload])
            self._block_size = len(payload)
            self._block_at = self._now

    def _continue(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or kind != CONTINUATION or number != self._block[0]:
            raise Fault(PROTOCOL_ERROR, "a block of headers is interrupted")
        first, pieces = self._block[1:]
        pieces.append(payload)
        self._block_size += len(payload)
        if self._block_size > _MAX_BLOCK or len(pieces) > _MAX_PIECES:
            raise Fault(ENHANCE_YOUR_CALM, "a block of headers is too long")
        if flags & END_HEADERS:
            self._block = None
            self._block_at = 0.0
            self._open(first, number, b"".join(pieces))

    def _open(self, flags: int, number: int, block: bytes) -> None:
        """A request begins, or its trailers came."""
        if number <= self._last:
            self._trailers(flags, number, block)
            return
        self._last = number
        if self._closing:
            # Its caller was told that this stream is not answered here and asks elsewhere.
            self._reader.skip(block)
            return
        try:
            head = self._reader.read(block)
        except Malformed:
            self._annoyed(1)
            self._drop(number, PROTOCOL_ERROR)
            return
        if self._busy >= MAX_STREAMS:
            self._annoyed(1)
            self._drop(number, frames.REFUSED_STREAM)
            return
        stream = Stream(self, number, head, self._outbox.stream_window, self._now)
        self._streams[number] = stream
        self._busy += 1
        if flags & END_STREAM:
            self._arrived(stream, b"")

    def _trailers(self, flags: int, number: int, block: bytes) -> None:
        self._reader.skip(block)
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            if number in self._dropped:
                return
            raise Fault(STREAM_CLOSED, "headers came for a stream that is closed")
        if not flags & END_STREAM:
            self._annoyed(1)
            self._forsake(stream, PROTOCOL_ERROR)
            return
        self._arrived(stream, b"")

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < CONNECTION_WINDOW // 2:
            if self._credit < 0:
                raise Fault(FLOW_CONTROL_ERROR, "more came than the connection's window allows")
            self._transport.write(frames.window_update(0, CONNECTION_WINDOW - self._credit))
            self._credit = CONNECTION_WINDOW
        stream = self._streams.get(number)
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        if stream is None or stream.ended:
            self._stray_data(number)
            return
        stream.credit -= size
        if stream.credit < 0:
            self._forsake(stream, FLOW_CONTROL_ERROR)
            return
        if flags & END_STREAM:
            self._arrived(stream, payload)
            return
        if not payload:
            self._annoyed(1)
        if stream.credit < STREAM_WINDOW // 2:
            self._transport.write(frames.window_update(number, STREAM_WINDOW - stream.credit))
            stream.credit = STREAM_WINDOW
        if self._application.streams(stream.head):
            self._application.received(stream, payload, False)
        elif self._room(stream, len(payload)):
            stream.parts.append(payload)

    def _stray_data(self, number: int) -> None:
        if number > self._last or not number & 1:
            raise Fault(PROTOCOL_ERROR, "data came for a stream that was never opened")
        if number not in self._dropped and not self._closing:
            self._annoyed(1)
            self._drop(number, STREAM_CLOSED)

    def _arrived(self, stream: Stream, payload: bytes) -> None:
        """The last of a request is here."""
        stream.ended = True
        if stream.answered:
            # It was refused before all of it had come, and its reader's window holds the answer back.
            return
        if self._application.streams(stream.head):
            self._application.received(stream, payload, True)
            return
        if stream.parts:
            if not self._room(stream, len(payload)):
                return
            stream.parts.append(payload)
            payload = b"".join(stream.parts)
            stream.parts = []
        elif len(payload) > self._options.max_body:
            self._too_large(stream)
            return
        stream.handed = True
        self._application.request(stream, payload)
        if stream.reserved:
            self._release(stream)

    # --- the frames beside requests

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        if not number:
            raise Fault(PROTOCOL_ERROR, "PRIORITY came without a stream")
        if len(payload) != 5:
            raise Fault(FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes long")
        self._annoyed(1)

    def _reset_by_peer(self, flags: int, number: int, payload: bytes) -> None:
        if not number or number > self._last or not number & 1:
            raise Fault(PROTOCOL_ERROR, "a stream was reset that was never opened")
        if len(payload) != 4:
            raise Fault(FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes long")
        self._annoyed(1)
        stream = self._streams.get(number)
        if stream is not None:
            self._remember(number)
            self._leave(stream)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(PROTOCOL_ERROR, "SETTINGS came on a stream")
        if flags & frames.ACK:
            if payload:
                raise Fault(FRAME_SIZE_ERROR, "SETTINGS is acknowledged with values")
            self._annoyed(1)
            return
        if self._settled:
            self._annoyed(10)
        self._settled = True
        outbox = self._outbox
        for name, value in frames.read_settings(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                self._opened(outbox.resized(self._streams, value))
            elif name == frames.MAX_FRAME_SIZE:
                outbox.largest_frame = value
            elif name == frames.HEADER_TABLE_SIZE and value < frames.DEFAULT_TABLE:
                outbox.without_table()
        self._transport.write(frames.SETTINGS_ACK)

    def _push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise Fault(PROTOCOL_ERROR, "callers push nothing")

    def _stray_continuation(self, flags: int, number: int, payload: bytes) -> None:
        raise Fault(PROTOCOL_ERROR, "CONTINUATION continues nothing")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(PROTOCOL_ERROR, "PING came on a stream")
        if len(payload) != 8:
            raise Fault(FRAME_SIZE_ERROR, "PING is not 8 bytes long")
        self._annoyed(1)
        if flags & frames.ACK:
            self._asked_at = 0.0
        else:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(PROTOCOL_ERROR, "GOAWAY came on a stream")
        if len(payload) < 8:
            raise Fault(FRAME_SIZE_ERROR, "GOAWAY is too short")
        self._annoyed(1)

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes long")
        more = int.from_bytes(payload) & LARGEST_WINDOW
        stream = self._streams.get(number)
        if number > self._last or (number and not number & 1):
            raise Fault(PROTOCOL_ERROR, "a window was opened for a stream that was never opened")
        if not more:
            if not number:
                raise Fault(PROTOCOL_ERROR, "a window was opened by nothing")
            self._annoyed(1)
            if stream is not None:
                self._forsake(stream, PROTOCOL_ERROR)
            return
        if not number:
            self._opened(self._outbox.opened(None, more))
        elif stream is not None:
            if stream.window + more > LARGEST_WINDOW:
                self._forsake(stream, FLOW_CONTROL_ERROR)
                return
            self._opened(self._outbox.opened(stream, more))
