"""Answers that may leave only when their records are on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from lockgate.adapters.segments.writer import SegmentWriter

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """One sync is under way at a time; whoever comes meanwhile shares the next. For the loop's thread alone."""

    def __init__(self, writer: SegmentWriter, landed: Callable[[list[T], bool], None]) -> None:
        """``landed`` is called with what was held, and whether it is on the disk."""
        self._writer = writer
        self._landed = landed
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._waiting: list[T] = []
        self._mark = 0
        self._syncing = False

    def hold(self, items: list[T]) -> None:
        """Keep what the writer's last `flush` wrote down, until it is on the disk."""
        if not self._waiting:
            self._mark = self._writer.mark
        self._waiting += items
        if not self._syncing:
            self._sync()

    def close(self) -> None:
        """Let the thread go; nothing may be held any more."""
        self._pool.shutdown()

    def _sync(self) -> None:
        self._syncing = True
        held, self._waiting = self._waiting, []
        mark = self._mark
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._writer.sync)

        def synced(done: asyncio.Future[None]) -> None:
            done.result()
            self._syncing = False
            # Before those who are told send their next requests.
            if self._waiting:
                self._sync()
            self._landed(held, self._writer.sync_failures == mark)

        future.add_done_callback(synced)
