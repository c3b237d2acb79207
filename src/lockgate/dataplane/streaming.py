"""An answer that goes out piece by piece, no faster than its caller reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Bytes that may wait to be sent before whoever writes has to.
ROOM = 64 << 10
_LAST = b"0\r\n\r\n"


class Stream:
    """The body of one answer, from its head to its end. Its connection takes the pieces when it is their turn."""

    __slots__ = ("_chunked", "_parts", "_room", "_size", "_tell", "ended", "held")

    def __init__(self, head: bytes, *, chunked: bool, tell: Callable[[], None]) -> None:
        """``chunked``: else the end of the connection is the end of the answer; ``tell``: something can be sent."""
        self._parts = [head]
        self._size = len(head)
        self._chunked = chunked
        self._tell = tell
        self._room = asyncio.Event()
        #: The connection cannot send more just now.
        self.held = False
        self.ended = False

    async def write(self, piece: bytes) -> None:
        """Send a piece; returns when there is room for another."""
        if piece:
            self._put(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        while self.held or self._size > ROOM:
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self._put(_LAST if self._chunked else b"")

    def take(self) -> bytes:
        """What waits to be sent, for the connection."""
        parts, self._parts, self._size = self._parts, [], 0
        if not self.held:
            self._room.set()
        return b"".join(parts)

    def hold(self, held: bool) -> None:
        """Whether the connection can send no more just now."""
        self.held = held
        if not held:
            self._room.set()

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        self._tell()
