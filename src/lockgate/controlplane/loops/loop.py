"""Runs steps again and again. A loop that dies takes the process down: it must not die in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from lockgate.base.errors import Conflict, Unavailable

log = structlog.get_logger("lockgate.loops")

#: Pauses after a step that found the store away, in seconds.
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """One thing to do over and over."""

    name: str
    #: Seconds between the end of one step and the start of the next.
    every: float
    #: Runs in a thread; Unavailable and Conflict are tried again, anything else ends the process.
    step: Callable[[], object]


async def run_loops(loops: Sequence[Loop]) -> None:
    """Run all of them until cancelled; the first that fails for good fails all, and is raised."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_run(loop), name=loop.name)


async def _run(loop: Loop) -> None:
    pause = loop.every
    while True:
        try:
            await asyncio.to_thread(loop.step)
            pause = loop.every
        except (Unavailable, Conflict) as error:
            # Somebody else was faster, or the store is away for a moment: level-triggered steps just look again.
            pause = min(max(pause, 0.1) * 2, _LONGEST_PAUSE)
            log.warning("loop.delayed", loop=loop.name, code=error.code, error=error.message, again_in=pause)
        await asyncio.sleep(pause)
