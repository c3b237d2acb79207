"""HTTP/1.1 for one connection: limits and time-outs, answers in the order of requests, and none left without one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import httptools

from lockgate.dataplane.exchange import MOST_HEADS, Exchange, Head, due, hold
from lockgate.dataplane.refusal import Refused, unavailable
from lockgate.dataplane.shared import Shared

#: Most bytes of a request's head, and of its target.
MAX_HEAD = 32 << 10
MAX_TARGET = 8 << 10
#: Requests one connection may have waiting before it is no longer read.
MOST_WAITING = 64
#: How long the rest of a refused request is still taken, so that its caller gets to read why.
LINGER_SECONDS = 2.0

#: Heads of up to so many bytes are kept.
_LONGEST_HEAD = 2048

#: Headers with which a request is left to the parser each time; a trace's would make each head one of its own.
_SPECIAL = frozenset((b"expect", b"transfer-encoding", b"upgrade", b"traceparent"))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """Reads requests and writes their answers."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._options = shared.options
        self._transport: Any = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._waiting: deque[Exchange] = deque()
        self._exchange: Exchange | None = None
        self._parts: list[bytes] = []
        self._head_bytes = self._body_bytes = self._trickled = 0
        self._reserved = 0
        self._messages = 0
        self._path = b""
        self._headers: dict[bytes, bytes] = {}
        self._last: Head | None = None
        self._now = 0.0
        self._deadline = 0.0
        self._in_head = self._in_body = False
        self._refused: Refused | None = None
        # No more requests are read: the last answer under way ends the connection.
        self._ending = False
        # The rest of a refused request is read and thrown away for a while.
        self._lingering = False
        self._read_paused = self._write_paused = False
        self._owes_continue = False
        # A caller who was turned away, and came back at once while many did.
        self._cooling = False

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._now = time.monotonic()
        self._deadline = self._now + self._options.header_seconds
        if len(self._shared.connections) >= self._options.max_connections:
            self._shared.refused_connections += 1
            self._shared.connections.add(self)
            self._refuse(unavailable("this gateway has no room for another connection"))
            return
        self._shared.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._now = time.monotonic()
        answered = self._messages
        fresh = not (self._in_head or self._in_body or self._refused)
        end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD) if fresh else -1
        if end > 0:
            head = self._shared.heads.get(data[:end])
            if head is not None and len(data) == end + 4 + head.length and self._whole(head, data[end + 4 :]):
                return
        self._read(data)
        if end > 0 and self._messages == answered + 1:
            self._remember(data[:end], len(data) - end - 4)

    def _whole(self, head: Head, body: bytes) -> bool:
        """Take a request that has come whole and whose head is known; False leaves it to the parser."""
        shared = self._shared
        if shared.draining or shared.body_bytes + len(body) > self._options.max_inflight_bytes:
            return False
        exchange = Exchange(self, head, self._now)
        exchange.body = body
        self._messages += 1
        self._deadline = 0.0
        self._waiting.append(exchange)
        shared.handle(exchange)
        if len(self._waiting) >= MOST_WAITING:
            self._pause_reading()
        return True

    def _remember(self, head: bytes, length: int) -> None:
        """Keep the head of a request that came alone and whole, and that said nothing which needs the parser."""
        last, heads = self._last, self._shared.heads
        if last is None or last.length != length or self._ending or self._in_head or self._in_body:
            return
        if len(heads) >= MOST_HEADS:
            heads.clear()
        heads[head] = last

    def _read(self, data: bytes) -> None:
        length, answered = len(data), self._messages
        while data:
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                # Nothing here can be upgraded to; the request itself stands, and so does what follows it.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                if self._refused is None:
                    self._refused = Refused(
                        400, "malformed_http", "this is not an HTTP/1.1 request", hint="check the client", close=True
                    )
                data = b""
        if self._in_head and answered == self._messages:
            # The parser keeps a header line to itself until its end, so bytes are counted before they are headers.
            self._trickled += length
            if self._trickled > MAX_HEAD:
                self._count_head(MAX_HEAD + 1)
        if self._refused is not None:
            self._refuse(self._refused)
        elif len(self._waiting) >= MOST_WAITING:
            self._pause_reading()

    def eof_received(self) -> bool:
        # A caller may close its side and still read: what is under way is answered first, but for what is costly.
        if self._waiting and not any(exchange.gone for exchange in self._waiting):
            self._ending = True
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._ending = True
        self._release()
        left, self._waiting = self._waiting, deque()
        for exchange in left:
            exchange.abandon()

    def pause_writing(self) -> None:
        self._write_paused = True
        hold(self._waiting, held=True)
        self._deadline = time.monotonic() + self._options.write_seconds
        self._pause_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        hold(self._waiting, held=False)
        self._rest()
        self._resume_reading()

    # --- httptools' side

    def on_message_begin(self) -> None:
        self._in_head = True
        self._in_body = False
        self._head_bytes = self._body_bytes = 0
        self._path = b""
        self._headers = {}
        self._parts = []
        self._deadline = self._now + self._options.header_seconds

    def on_url(self, url: bytes) -> None:
        self._path += url
        self._count_head(len(url))
        if len(self._path) > MAX_TARGET and self._refused is None:
            self._refused = Refused(
                414, "target_too_long", f"the request target is longer than {MAX_TARGET} bytes", close=True
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._refused is not None:
            return
        headers = self._headers
        length = headers.get(b"content-length")
        plain = length is not None and length.isdigit() and not (_SPECIAL & headers.keys())
        head = Head(
            self._parser.get_method().decode("ascii"), self._path, headers, int(length) if plain and length else -1
        )
        exchange = Exchange(self, head, self._now)
        # HTTP/1.0 keeps a connection only by an extension that nobody needs any more.
        exchange.closing = (
            self._shared.draining or not self._parser.should_keep_alive() or self._parser.get_http_version() == "1.0"
        )
        self._exchange = exchange
        self._last = head
        if length is not None or b"transfer-encoding" in headers:
            self._in_body = True
            self._deadline = self._now + self._options.body_seconds
            self._admit(int(length) if length is not None and length.isdigit() else 0)
        expect = headers.get(b"expect")
        if expect is not None and self._refused is None:
            self._expected(expect)

    def on_body(self, body: bytes) -> None:
        if self._refused is not None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._reserved:
            self._admit(self._body_bytes)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._messages += 1
        self._trickled = 0
        exchange = self._exchange
        if self._refused is not None or self._ending or exchange is None:
            return
        self._exchange = None
        self._owes_continue = False
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._waiting.append(exchange)
        self._deadline = 0.0
        self._ending = exchange.closing
        self._shared.handle(exchange)
        if self._reserved:
            self._release()

    # --- answers

    def answered(self) -> None:
        """Write every answer whose turn it is."""
        waiting = self._waiting
        if len(waiting) == 1 and not (self._ending or self._read_paused or self._owes_continue):
            # Nearly always: one request was under way, and nothing else goes on.
            exchange = waiting[0]
            if exchange.answer is not None and not exchange.closing:
                waiting.clear()
                self._transport.write(exchange.answer)
                self._rest()
                if exchange.shed and (rest := self._shared.storm.turned_away(self._now, len(exchange.body))):
                    self._cool(rest)
                return
        ready, last = due(waiting, held=self._write_paused)
        if last:
            self._ending = True
            waiting.clear()
        if not ready:
            return
        transport = self._transport
        transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if waiting:
            return
        if self._lingering:
            # Closing with bytes unread would reset the connection and could take the answer with it.
            self._deadline = time.monotonic() + LINGER_SECONDS
            if transport.can_write_eof():
                transport.write_eof()
            return
        if self._ending:
            transport.close()
            return
        if self._owes_continue:
            self._owes_continue = False
            transport.write(_CONTINUE)
        self._rest()
        if self._read_paused and not self._write_paused:
            self._resume_reading()

    def end_if_idle(self, now: float, seconds: float) -> None:
        """Close the connection when nothing is under way and nothing came for so long.

        Whoever has just connected is about to ask, so a connection that is idle only now is left alone.
        """
        if not (self._waiting or self._in_head or self._in_body) and now - self._now >= seconds:
            self._ending = True
            self._transport.close()

    def check_time(self, now: float) -> None:
        """End the connection when its caller is too slow."""
        if not self._deadline or now < self._deadline:
            return
        if self._write_paused or self._lingering:
            self._transport.abort()
        elif self._in_head or self._in_body:
            part = "head" if self._in_head else "body"
            self._refuse(Refused(408, "timeout", f"the {part} of the request did not arrive in time", close=True))
        elif not self._waiting:
            self._ending = True
            self._transport.close()

    # --- limits

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD and self._refused is None:
            self._refused = Refused(
                431, "head_too_large", f"the head of the request is larger than {MAX_HEAD} bytes", close=True
            )

    def _admit(self, length: int) -> None:
        """Take up room for a body of so many bytes, before it is read."""
        if length > self._options.max_body:
            limit = self._options.max_body
            self._refused = Refused(
                413, "too_large", f"the body is larger than {limit} bytes", hint="send fewer rows at once", close=True
            )
            return
        more = length - self._reserved
        if more > 0 and self._shared.body_bytes + more > self._options.max_inflight_bytes:
            refused = Refused(
                503,
                "overloaded",
                "too many bytes of requests are under way",
                hint="try again shortly",
                headers=(("retry-after", "1"),),
                close=True,
            )
            self._refused = refused
            return
        if more > 0:
            self._shared.body_bytes += more
            self._reserved = length

    def _release(self) -> None:
        self._shared.body_bytes -= self._reserved
        self._reserved = 0

    def _expected(self, expect: bytes) -> None:
        if expect.lower() != b"100-continue":
            self._refused = Refused(417, "unknown_expectation", "only Expect: 100-continue is understood", close=True)
        elif self._waiting:
            # Earlier answers go first, or the caller would take this for one of them.
            self._owes_continue = True
        else:
            self._transport.write(_CONTINUE)

    def _refuse(self, refused: Refused) -> None:
        """Answer what cannot be read any further, behind the answers under way, and read no more."""
        if self._ending and self._waiting:
            return
        self._ending = self._lingering = True
        self._deadline = 0.0
        self._release()
        counts = self._shared.refusals
        counts[refused.code] = counts.get(refused.code, 0) + 1
        exchange = self._exchange or Exchange(self, Head("GET", b"", {}, -1), self._now)
        self._exchange = None
        exchange.closing = True
        self._waiting.append(exchange)
        exchange.refuse(refused)

    def _rest(self) -> None:
        if not (self._waiting or self._in_head or self._in_body):
            self._deadline = time.monotonic() + self._options.idle_seconds

    def _cool(self, seconds: float) -> None:
        """Read nothing from here for a moment."""
        self._pause_reading()
        self._cooling = True
        asyncio.get_running_loop().call_later(seconds, self._cooled)

    def _cooled(self) -> None:
        self._cooling = False
        if not self._write_paused:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._read_paused and not self._ending:
            self._read_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not (self._ending or self._cooling):
            self._read_paused = False
            self._transport.resume_reading()
