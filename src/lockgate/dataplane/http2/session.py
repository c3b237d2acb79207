"""The streams of one connection: how they are answered, refused, left and forsaken, and how the connection ends."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from lockgate.dataplane.http2 import frames
from lockgate.dataplane.http2.frames import ENHANCE_YOUR_CALM, LARGEST_STREAM, NO_ERROR, PROTOCOL_ERROR, Fault
from lockgate.dataplane.http2.headers import MAX_LIST
from lockgate.dataplane.http2.outbox import Outbox
from lockgate.dataplane.http2.shared import MAX_STREAMS, Patience, Shared
from lockgate.dataplane.http2.stream import STREAM_WINDOW, Stream
from lockgate.dataplane.refusal import Refused

#: Largest frame that is taken, and what may come on all streams before windows are opened again.
MAX_FRAME = 64 << 10
CONNECTION_WINDOW = 8 << 20
#: Streams that were ended from here, remembered so that what was on its way to them is no offence.
_MOST_DROPPED = 1024
#: How long what still comes is taken after the connection's end, so that its caller gets to read why.
_LINGER_SECONDS = 1.0
_GREETING = frames.settings(
    {
        frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_FRAME_SIZE: MAX_FRAME,
        frames.MAX_HEADER_LIST_SIZE: MAX_LIST,
    }
) + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
_KEEPALIVE = frames.frame(frames.PING, 0, 0, b"lockgate")


class Session(asyncio.Protocol):
    """One connection without its reading half."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._options = shared.options
        self._application = shared.application
        self._transport: Any = None
        self._outbox: Any = None
        self._streams: dict[int, Stream] = {}
        #: Requests under way, those among them that nobody waits for any more included.
        self._busy = 0
        self._last = 0
        self._dropped: OrderedDict[int, None] = OrderedDict()
        # After its last GOAWAY nothing is taken any more; after its end nothing is even looked at.
        self._closing = self._over = self._eof = False
        self._warned = False
        # When bytes came last, when the last request was over, when the connection began.
        self._now = self._quiet_since = self._began = time.monotonic()
        # When a frame began that is not whole, a block of headers that is not, a PING without its answer; 0 without.
        self._part_at = self._block_at = self._asked_at = 0.0
        # Since when nothing can be written, since when windows hold back an answer, when it was over; 0 for not at all.
        self._paused_at = self._stuck_at = self._over_at = 0.0
        self._settled = False
        self._patience = Patience(self._now)

    @property
    def under_way(self) -> int:
        """Requests that are not over, those that nobody waits for any more included."""
        return self._busy

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._outbox = Outbox(transport)
        shared = self._shared
        full = len(shared.connections) >= self._options.max_connections
        shared.connections.add(self)
        self._transport.write(_GREETING)
        if full:
            shared.refused_connections += 1
            self._finish(ENHANCE_YOUR_CALM, "this gateway has no room for another connection")
        elif shared.draining:
            self.warn()

    def eof_received(self) -> bool:
        # A caller that closed its side may still read its answers; what it has not said, it never will.
        self._closing = self._eof = True
        for stream in list(self._streams.values()):
            if not (stream.ended or stream.answered):
                self._leave(stream)
        return bool(self._streams) and not self._over

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._over = True
        self._abandon()

    def pause_writing(self) -> None:
        self._paused_at = time.monotonic()
        if not self._over:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused_at = 0.0
        if not self._over:
            self._transport.resume_reading()

    # --- answers

    def answer(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None:
        """Bring the whole answer to a request."""
        # What the application keeps there knows the stream in turn; a circle would wait for the collector.
        stream.state = None
        if stream.gone:
            self._busy -= 1
            return
        stream.answered = True
        if self._outbox.answer(stream, head, data, tail):
            self._sent(stream)
        elif not self._stuck_at:
            self._stuck_at = time.monotonic()

    def send(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None:
        """Bring a part of an answer."""
        if stream.gone or stream.answered:
            return
        stream.answered = bool(tail)
        if self._outbox.send(stream, head, data, tail):
            if tail:
                self._sent(stream)
        elif not self._stuck_at:
            self._stuck_at = time.monotonic()

    def _opened(self, sent: list[Stream]) -> None:
        """Windows opened, and these streams had all they waited for sent."""
        self._stuck_at = self._now if self._outbox.blocked else 0.0
        for stream in sent:
            if stream.answered:
                self._sent(stream)

    def _sent(self, stream: Stream) -> None:
        """All of the answer is gone."""
        number = stream.id
        if not stream.ended:
            # The rest of the request is of no use; RFC 9113 says so with a reset that is no error.
            self._drop(number, NO_ERROR)
            self._release(stream)
        del self._streams[number]
        self._busy -= 1
        self._quiet_since = self._now
        if self._closing and not self._streams:
            self._hang_up()

    # --- the ends of streams

    def _leave(self, stream: Stream) -> None:
        """Nobody waits for the answer to this request any more."""
        del self._streams[stream.id]
        self._outbox.drop(stream)
        self._release(stream)
        stream.gone = True
        if not stream.handed or stream.answered:
            self._busy -= 1
        self._application.cancelled(stream)
        self._quiet_since = self._now
        if self._closing and not self._streams:
            self._hang_up()

    def _forsake(self, stream: Stream, code: int) -> None:
        """End one stream for what its caller did."""
        self._annoyed(1)
        self._drop(stream.id, code)
        self._leave(stream)

    def _drop(self, number: int, code: int) -> None:
        self._transport.write(frames.reset(number, code))
        self._remember(number)

    def _remember(self, number: int) -> None:
        self._dropped[number] = None
        if len(self._dropped) > _MOST_DROPPED:
            self._dropped.popitem(last=False)

    def _abandon(self) -> None:
        for stream in list(self._streams.values()):
            self._leave(stream)

    # --- limits

    def _room(self, stream: Stream, more: int) -> bool:
        """Take up room for more of a body, or refuse the request."""
        stream.size += more
        if stream.size > self._options.max_body:
            self._too_large(stream)
            return False
        shared = self._shared
        if shared.body_bytes + more > self._options.max_inflight_bytes:
            self._refuse(
                stream,
                Refused(503, "overloaded", "too many bytes of requests are under way", hint="try again shortly"),
            )
            return False
        shared.body_bytes += more
        stream.reserved += more
        return True

    def _release(self, stream: Stream) -> None:
        self._shared.body_bytes -= stream.reserved
        stream.reserved = 0
        stream.parts = []

    def _too_large(self, stream: Stream) -> None:
        limit = self._options.max_body
        self._refuse(
            stream, Refused(413, "too_large", f"the message is larger than {limit} bytes", hint="send fewer rows")
        )

    def _refuse(self, stream: Stream, refused: Refused) -> None:
        self._release(stream)
        self._application.refuse(stream, refused)

    def _annoyed(self, cost: float) -> None:
        if self._patience.lost(cost, self._now):
            raise Fault(ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    # --- the end of the connection

    def warn(self) -> None:
        """Ask the caller to go elsewhere with what it has not sent yet."""
        if not (self._warned or self._closing):
            self._warned = True
            self._transport.write(frames.goaway(LARGEST_STREAM, NO_ERROR))

    def end(self) -> None:
        """Take no more requests; the connection ends when the last answer is gone."""
        if self._closing:
            return
        self._closing = True
        self._transport.write(frames.goaway(self._last, NO_ERROR))
        if not self._streams:
            self._hang_up()

    def check_time(self, now: float) -> None:
        """End what takes too long."""
        options = self._options
        if self._over:
            if now - self._over_at >= _LINGER_SECONDS:
                self._transport.abort()
        elif self._paused_at and now - self._paused_at >= options.write_seconds:
            self._transport.abort()
        elif self._stuck_at and now - self._stuck_at >= options.write_seconds:
            self._finish(ENHANCE_YOUR_CALM, "the answers are not taken in time")
        elif not self._settled and now - self._began >= options.header_seconds:
            self._finish(PROTOCOL_ERROR, "the preface and SETTINGS did not arrive in time")
        elif self._block_at and now - self._block_at >= options.header_seconds:
            self._finish(PROTOCOL_ERROR, "a block of headers did not arrive in time")
        elif self._part_at and now - self._part_at >= options.body_seconds:
            self._finish(PROTOCOL_ERROR, "a frame did not arrive in time")
        elif self._streams:
            self._check_streams(now)
        elif not self._closing and now - self._quiet_since >= options.idle_seconds:
            self.end()

    def _check_streams(self, now: float) -> None:
        seconds = self._options.body_seconds
        streams = self._application.streams
        for stream in list(self._streams.values()):
            if not (stream.ended or stream.answered) and now - stream.opened >= seconds and not streams(stream.head):
                self._refuse(stream, Refused(408, "timeout", "the message did not arrive in time"))
        if self._asked_at:
            if now - self._asked_at >= self._options.write_seconds:
                self._transport.abort()
        elif now - self._now >= self._options.idle_seconds:
            # Somebody who watches says nothing for hours; whether there still is somebody, a PING tells.
            self._asked_at = now
            self._transport.write(_KEEPALIVE)

    def _finish(self, code: int, sentence: str) -> None:
        """End the connection for what its caller did."""
        self._closing = True
        self._transport.write(frames.goaway(self._last, code, sentence))
        self._abandon()
        self._hang_up()

    def _hang_up(self) -> None:
        """Everything is said. Closing with bytes unread would reset the connection and could take the last with it."""
        if self._over:
            return
        self._over = True
        self._over_at = time.monotonic()
        if self._eof or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        if self._paused_at:
            self._transport.resume_reading()
