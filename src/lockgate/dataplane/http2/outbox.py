"""The sending half of a connection: whole answers at once where the reader's windows allow, the rest when they do."""

from __future__ import annotations

from collections import deque
from typing import Any

from lockgate.dataplane.http2.frames import (
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    LARGEST_WINDOW,
    Fault,
    pack_head,
)
from lockgate.dataplane.http2.headers import NO_TABLE
from lockgate.dataplane.http2.stream import Stream

_LAST_HEADERS = END_HEADERS | END_STREAM


class Outbox:
    """What goes to one reader. Blocks of headers have to be shorter than the smallest largest frame, 16 KiB."""

    def __init__(self, transport: Any) -> None:
        self.write = transport.write
        self.window = DEFAULT_WINDOW
        #: What a new stream starts with.
        self.stream_window = DEFAULT_WINDOW
        self.largest_frame = DEFAULT_FRAME
        self.blocked: dict[int, Stream] = {}
        #: Bytes that wait for windows.
        self.waiting = 0
        self._first = b""

    def without_table(self) -> None:
        """The reader wants a smaller dynamic table than both sides start with; it is told that none is used."""
        self._first = NO_TABLE

    def answer(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> bool:
        """Send a whole answer; gives whether all of it went."""
        size = len(data)
        if not head or size > self.window or size > stream.window or size > self.largest_frame:
            return self.send(stream, head, data, tail)
        if self._first:
            head, self._first = self._first + head, b""
        self.window -= size
        number = stream.id
        self.write(
            b"".join(
                (
                    pack_head(len(head) << 8 | HEADERS, END_HEADERS, number),
                    head,
                    pack_head(size << 8 | DATA, 0, number),
                    data,
                    pack_head(len(tail) << 8 | HEADERS, _LAST_HEADERS, number),
                    tail,
                )
            )
        )
        return True

    def send(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> bool:
        """Send any part of an answer, the rest of it when windows open; gives whether all of it went."""
        if head:
            self._headers(stream.id, head, END_HEADERS)
        if not data and stream.waiting is None:
            if tail:
                self._headers(stream.id, tail, _LAST_HEADERS)
            return True
        queue = stream.waiting
        if queue is None:
            queue = stream.waiting = deque()
        if data:
            queue.append((False, data))
            self.waiting += len(data)
        if tail:
            queue.append((True, tail))
        return self._push(stream)

    def opened(self, stream: Stream | None, more: int) -> list[Stream]:
        """A window opened, that of the connection or of a stream; gives the streams all of whose answer is gone now.

        Raises:
            Fault: the connection's window would be larger than any may be.
        """
        if stream is not None:
            stream.window += more
            return [stream] if stream.waiting and self._push(stream) else []
        self.window += more
        if self.window > LARGEST_WINDOW:
            raise Fault(FLOW_CONTROL_ERROR, "the connection's window is too large")
        return self._push_all()

    def resized(self, streams: dict[int, Stream], window: int) -> list[Stream]:
        """The reader changed what streams start with, which moves the windows of all; otherwise as `opened`."""
        moved = window - self.stream_window
        self.stream_window = window
        for stream in streams.values():
            stream.window += moved
            if stream.window > LARGEST_WINDOW:
                raise Fault(FLOW_CONTROL_ERROR, "a stream's window is too large")
        return self._push_all() if moved > 0 else []

    def drop(self, stream: Stream) -> None:
        """What waits for this stream goes nowhere any more."""
        if stream.waiting:
            self.waiting -= sum(len(data) for last, data in stream.waiting if not last)
        stream.waiting = None
        self.blocked.pop(stream.id, None)

    def _headers(self, number: int, block: bytes, flags: int) -> None:
        if self._first:
            block, self._first = self._first + block, b""
        self.write(pack_head(len(block) << 8 | HEADERS, flags, number) + block)

    def _push_all(self) -> list[Stream]:
        return [stream for stream in list(self.blocked.values()) if self._push(stream)]

    def _push(self, stream: Stream) -> bool:
        """Send as much of what waits as may be sent now."""
        queue = stream.waiting
        number = stream.id
        while queue:
            last, data = queue[0]
            if last:
                self._headers(number, data, _LAST_HEADERS)
                queue.popleft()
                continue
            room = min(self.window, stream.window)
            if room <= 0:
                # Those that waited longest go first.
                self.blocked.setdefault(number, stream)
                return False
            piece = data if len(data) <= room else memoryview(data)[:room]
            self._data(number, piece)
            sent = len(piece)
            self.window -= sent
            stream.window -= sent
            self.waiting -= sent
            if sent < len(data):
                queue.popleft()
                queue.appendleft((False, memoryview(data)[sent:]))
            else:
                queue.popleft()
        stream.waiting = None
        self.blocked.pop(number, None)
        return True

    def _data(self, number: int, data: bytes | memoryview) -> None:
        largest = self.largest_frame
        for at in range(0, len(data), largest):
            piece = data[at : at + largest]
            self.write(pack_head(len(piece) << 8 | DATA, 0, number))
            self.write(piece)
