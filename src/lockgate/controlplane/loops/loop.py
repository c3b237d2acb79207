"""Runs steps again and again. A loop that dies takes the process down: it must not die in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from lockgate.base.errors import Conflict, Unavailable
from lockgate.edge_ports import Leadership

log = structlog.get_logger("lockgate.loops")


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """One thing to do over and over."""

    name: str
    #: Seconds between the end of one step and the start of the next.
    every: float
    #: Runs in a thread; Unavailable and Conflict are tried again, anything else ends the process.
    step: Callable[[], object]
    #: Longest pause after steps that found the store away, in seconds.
    longest_pause: float = 10.0


def led(loop: Loop, leadership: Leadership) -> Loop:
    """The loop, which rests wherever another control plane does its work."""

    def step() -> None:
        if leadership.leads(loop.name):
            loop.step()

    return replace(loop, step=step)


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
            pause = min(max(pause, 0.1) * 2, loop.longest_pause)
            log.warning("loop.delayed", loop=loop.name, code=error.code, error=error.message, again_in=pause)
        await asyncio.sleep(pause)
