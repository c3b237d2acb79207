"""Brings compressed bodies of requests out of their compression: short ones at once, others in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lockgate.dataplane.compression import Unpacking
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.refusal import Refused, overloaded

#: Bytes that are unpacked in the loop's thread; it takes less than a millisecond.
_INLINE = 256 << 10


class Unpacker:
    """One thread, so that no more than one body beside those that are being read is unpacked at a time."""

    def __init__(self, limit: int, most_waiting: int) -> None:
        """``limit``: bytes of a body once it is unpacked; ``most_waiting``: compressed bytes that may wait."""
        self._limit = limit
        self._most_waiting = most_waiting
        self._waiting = 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="unpack")

    def start(self, exchange: Exchange, coding: bytes, again: Callable[[Exchange], None]) -> None:
        """Unpack a request's body, then handle it ``again``: now, or when the thread is done.

        Raises:
            Refused: 415, 400 or 413 as `Unpacking`; 503 when too much waits.
        """
        size = len(exchange.body)
        unpacking = Unpacking(coding, exchange.body, self._limit)
        found = unpacking.piece(_INLINE)
        if found is not None:
            exchange.body, exchange.unpacked = found, True
            again(exchange)
            return
        if self._waiting + size > self._most_waiting:
            raise overloaded("too many compressed bodies wait")
        exchange.body = b""
        self._waiting += size
        future = asyncio.get_running_loop().run_in_executor(self._pool, _whole, unpacking)

        def done(landed: asyncio.Future[bytes | Refused]) -> None:
            self._waiting -= size
            found = landed.result()
            if isinstance(found, Refused):
                exchange.unpacked = found
            else:
                exchange.body, exchange.unpacked = found, True
            again(exchange)

        future.add_done_callback(done)

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown()


def _whole(unpacking: Unpacking) -> bytes | Refused:
    try:
        return unpacking.whole()
    except Refused as refused:
        return refused
