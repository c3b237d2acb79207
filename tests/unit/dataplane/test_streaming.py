from __future__ import annotations

import asyncio
from collections import deque

import pytest

from lockgate.dataplane.exchange import JSON, Exchange, Head, due
from lockgate.dataplane.streaming import ROOM, Stream


class Quiet:
    """A connection that takes nothing by itself."""

    def answered(self) -> None:
        return


def exchange(*, closing: bool = False) -> Exchange:
    made = Exchange(Quiet(), Head("POST", b"/", {}, 0), 0.0)
    made.closing = closing
    return made


def test_pieces_go_out_in_turn_and_the_last_one_ends_the_answer():
    first, second = exchange(), exchange()
    waiting = deque([first, second])
    second.reply(200, JSON, b"{}")
    assert due(waiting, held=False) == ([], False)

    async def scene() -> None:
        stream = first.begin(200, b"content-type: text/plain\r\n")
        await stream.write(b"one")
        ready, _ = due(waiting, held=False)
        head, body = ready[0].split(b"\r\n\r\n", 1)
        assert b"transfer-encoding: chunked" in head
        assert body == b"3\r\none\r\n"
        await stream.write(b"")
        stream.end()
        ready, last = due(waiting, held=False)
        assert ready[0] == b"0\r\n\r\n"
        assert ready[1].endswith(b"{}")
        assert (last, len(waiting)) == (False, 0)

    asyncio.run(scene())


def test_an_answer_on_a_connection_that_ends_ends_with_it():
    only = exchange(closing=True)

    async def scene() -> None:
        stream = only.begin(200, b"")
        await stream.write(b"one")
        stream.end()
        ready, last = due(deque([only]), held=False)
        assert last
        assert ready[0].endswith(b"connection: close\r\n\r\none")

    asyncio.run(scene())


@pytest.mark.parametrize("held", [True, False])
def test_whoever_writes_waits_while_nobody_takes(held: bool):
    async def scene() -> None:
        stream = Stream(b"", chunked=True, tell=lambda: None)
        stream.hold(held)
        writing = asyncio.ensure_future(stream.write(b"x" * (3 if held else ROOM + 1)))
        await asyncio.sleep(0.01)
        assert not writing.done()
        stream.take()
        stream.hold(False)
        await asyncio.wait_for(writing, 1)

    asyncio.run(scene())
