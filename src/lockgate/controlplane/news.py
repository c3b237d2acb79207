"""Wakes those who wait for the next route generation, so that a rollback reaches gateways at once."""

from __future__ import annotations

import asyncio
import threading


class News:
    """A bell: anybody rings it from any thread. Who took a ticket before it rang does not wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = 0
        #: Nobody shall wait any longer: the program is about to end. Set from a signal's handler, so it takes no lock.
        self.closed = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def ring(self) -> None:
        """Wake everybody who waits."""
        with self._lock:
            self._rung += 1
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    @property
    def ticket(self) -> int:
        """Taken before looking, so that what is published between the look and the wait is not slept through."""
        return self._rung

    async def wait(self, ticket: int, seconds: float) -> None:
        """Wait until it rings after ``ticket`` was taken, or at most so long."""
        mine = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._rung != ticket:
                return
            self._waiting.add(mine)
        try:
            await asyncio.wait_for(mine[1].wait(), seconds)
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiting.discard(mine)
