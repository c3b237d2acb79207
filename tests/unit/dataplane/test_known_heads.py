"""A head that is known again is read as the parser would read it: two ways to read may never mean two things."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.options import Options
from lockgate.dataplane.protocol import Connection
from lockgate.dataplane.shared import Shared

Seen = tuple[str, bytes, dict[bytes, bytes], bytes, bool]


class Wire(asyncio.Transport):
    """A connection's other end, that remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent += bytes(data)

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


class Reader:
    """A connection, and the requests that were read from it."""

    def __init__(self, shared: Shared | None = None) -> None:
        self.seen: list[Seen] = []
        options = Options(home=Path("/nowhere"), control_url="http://127.0.0.1:1", token_file=Path("/nowhere/token"))
        self.shared = shared or Shared(options, self._handle)
        self.shared.handle = self._handle
        self.wire = Wire()
        self.connection = Connection(self.shared)
        self.connection.connection_made(self.wire)

    def feed(self, *pieces: bytes) -> list[Seen]:
        for piece in pieces:
            self.connection.data_received(piece)
        return self.seen

    def _handle(self, exchange: Exchange) -> None:
        self.seen.append((exchange.method, exchange.path, exchange.headers, exchange.body, exchange.closing))
        exchange.json(200, {"read": len(exchange.body)})


names = st.sampled_from(
    (
        *("Host", "host", "Content-Type", "Content-Length", "content-length", "Connection", "Expect", "Upgrade"),
        *("Transfer-Encoding", "Authorization", "traceparent", "X-Lockgate-Key", "Content-Encoding", "Content-Length "),
    )
)
values = st.sampled_from(
    (
        *("a", "", "0", "2", "5", "05", "+5", "5, 5", "-1", " 5", "5 ", "é", "x" * 100),
        *("close", "keep-alive", "Upgrade", "100-continue", "chunked", "identity", "h2c"),
    )
)
bodies = st.sampled_from(
    (b"", b"ab", b"{\r\n}", b"\r\n\r\n", b"12345", b"5\r\nabcde\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, well made or not."""
    method = draw(st.sampled_from(["POST", "GET", "HEAD", "PUT", "post"]))
    target = draw(st.sampled_from(["/v2/models/m.dev/infer", "/ping", "*", "http://a/b", "/a b"]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]))
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in draw(fields))]
    body = draw(bodies)
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"]))
    return end.join([*lines, "", ""]).encode() + body


fields = st.lists(st.tuples(names, values), max_size=4)


@given(streams=st.lists(requests(), min_size=1, max_size=3), again=st.integers(2, 3))
def test_requests_whose_heads_are_known_are_read_as_if_they_were_not(streams: Sequence[bytes], again: int) -> None:
    asyncio.run(_compare([stream for stream in streams for _ in range(again)]))


async def _compare(messages: list[bytes]) -> None:
    # On connections that share what they know, so that the second already knows what the first has read.
    shared = Reader().shared
    for start in range(2):
        quick, slow = Reader(shared if start else None), Reader()
        shared = quick.shared
        for message in messages:
            assert quick.feed(message) == slow.feed(message)
            assert quick.wire.sent == slow.wire.sent
            assert quick.wire.closed == slow.wire.closed
            slow.shared.heads.clear()


REQUEST = b"POST /v2/models/m.dev/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"


@pytest.mark.parametrize("split", range(1, len(REQUEST)))
def test_a_known_head_that_comes_in_pieces_is_read_like_any_other(split: int) -> None:
    async def check() -> None:
        reader = Reader()
        reader.feed(REQUEST, REQUEST, REQUEST[:split], REQUEST[split:], REQUEST + REQUEST)
        assert [seen[3] for seen in reader.seen] == [b"ab"] * 5

    asyncio.run(check())


def test_a_length_that_a_head_does_not_have_is_never_taken_for_it() -> None:
    async def check() -> None:
        reader = Reader()
        reader.feed(REQUEST, REQUEST)
        assert reader.shared.heads
        reader.feed(REQUEST + b"GET /ping HTTP/1.1\r\n\r\n")
        assert [seen[:2] for seen in reader.seen[2:]] == [("POST", b"/v2/models/m.dev/infer"), ("GET", b"/ping")]

    asyncio.run(check())


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    async def check() -> None:
        reader = Reader()
        for number in range(5000):
            reader.feed(REQUEST.replace(b"Host: a", b"Host: a%d" % number))
        assert len(reader.seen) == 5000
        assert len(reader.shared.heads) <= 2048

    asyncio.run(check())
