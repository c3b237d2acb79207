"""Tells the control plane what was counted, and which generation is in force."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec

from lockgate.base.errors import Unavailable
from lockgate.dataplane.controlclient import ControlClient
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.journal import say
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.routing import LiveTable
from lockgate.dataplane.state import StateKeeper

_HEARTBEAT_SECONDS = 5.0
_LONGEST_PAUSE = 5.0
_TIMEOUT = 10.0


class ProfilePusher:
    """Sends deltas in numbered batches, each until it is acknowledged; what is counted meanwhile adds up."""

    def __init__(self, client: ControlClient, counting: Counting, source: str) -> None:
        self._client = client
        self._counting = counting
        self._source = source
        self._seq = 0
        self._unsent: bytes | None = None

    async def run(self, every: float = 1.0) -> None:
        """Fold and push, for ever."""
        pause = every
        while True:
            await asyncio.sleep(pause)
            pause = every if await self.push() else min(pause * 2, _LONGEST_PAUSE)

    async def push(self) -> bool:
        """Fold what waits and send it; False when the control plane did not take it."""
        self._counting.fold()
        while self._unsent is not None or self._next():
            if not await self._send():
                return False
            self._unsent = None
        return True

    def _next(self) -> bool:
        rows = self._counting.take()
        if not rows:
            return False
        self._seq += 1
        batch = {
            "source": self._source,
            "seq": self._seq,
            "rows": [
                {
                    "minute": row.minute,
                    "endpoint": row.endpoint,
                    "version": row.version,
                    "role": row.role,
                    "data": row.data,
                }
                for row in rows
            ],
        }
        self._unsent = msgspec.msgpack.encode(batch)
        return True

    async def _send(self) -> bool:
        try:
            status, body = await self._client.post(
                "/api/v1/gateway/profiles", self._unsent or b"", "application/msgpack", timeout=_TIMEOUT
            )
        except (Unavailable, OSError):
            return False
        if 200 <= status < 300:
            return True
        if status in (400, 413, 422):
            # It will never be taken, and must not hold up what comes after it.
            say("the control plane refuses these profiles", status=status, answer=body[:200].decode(errors="replace"))
            self._counting.dropped += 1
            return True
        return False


class Heartbeat:
    """Says that this worker lives, at once after each change of routes and every few seconds."""

    def __init__(self, client: ControlClient, keeper: StateKeeper, log: PredictionLog, worker: str, boot: str) -> None:
        self._client = client
        self._keeper = keeper
        self._log = log
        self._worker = worker
        self._boot = boot

    async def run(self, table: Callable[[], LiveTable | None]) -> None:
        """``table`` is called for the routes in force, or None."""
        while True:
            self._keeper.changed.clear()
            await self.beat(table())
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._keeper.changed.wait()
            except TimeoutError:
                continue

    async def beat(self, table: LiveTable | None) -> None:
        """One heartbeat; a control plane that is away misses it."""
        writer = self._log.writer
        # What is held is told by endpoint: a change waits for its own endpoint, not for a package of another.
        held = {"held": table.held} if table is not None and table.held else {}
        body = msgspec.json.encode(
            {
                "worker": self._worker,
                "boot": self._boot,
                "pid": os.getpid(),
                "generation": -1 if table is None else table.generation,
                **held,
                "problems": self._keeper.problems,
                "log": {"written": writer.written, "dropped": writer.dropped, "trouble": writer.trouble},
            }
        )
        try:
            status, answer = await self._client.post(
                "/api/v1/gateway/heartbeat", body, "application/json", timeout=_TIMEOUT
            )
        except (Unavailable, OSError):
            return
        if status >= 300:
            say("the control plane refuses the heartbeat", status=status, answer=answer[:500].decode(errors="replace"))
