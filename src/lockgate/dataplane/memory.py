"""Memory that was let go, given back to the machine."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

#: Seconds after packages were let go: by then their last answers are counted, and nothing holds them any more.
_LATER = 2.0


class GiveBack:
    """Asks the allocator for what it keeps, once in a while after something large was let go.

    What a package leaves behind lies scattered over glibc's heaps, where it is kept for next time: a gateway that
    takes version after version would look as if it grew.
    """

    def __init__(self) -> None:
        #: Other C libraries have none.
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._waiting = False

    def soon(self) -> None:
        """Some seconds from now, in a thread, so that no request waits for it."""
        if self._trim is not None and not self._waiting:
            self._waiting = True
            asyncio.get_running_loop().call_later(_LATER, self._now, self._trim)

    def _now(self, trim: Callable[[int], int]) -> None:
        self._waiting = False
        asyncio.get_running_loop().run_in_executor(None, trim, 0)
