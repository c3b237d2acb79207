"""The runners of one package: kept alive, lent out one call at a time, replaced before anybody has to wait for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from lockgate.adapters.python_runner.launch import Launch
from lockgate.base.errors import NotServable
from lockgate.dataplane.journal import say
from lockgate.dataplane.refusal import Refused, too_late, unavailable
from lockgate.dataplane.runner_process import RunnerGone, RunnerHung, RunnerProcess
from lockgate.domain.registry.serving import RunnerLimits

#: Seconds between two looks at a process, and that an idle one may take for a word.
_LOOK, _PING = 0.5, 1.0
#: Looks between two pings.
_PING_EVERY = 4
#: Share of the memory at which a process is replaced by a fresh one, while it goes on answering.
_WORN = 0.9
#: Seconds after which a death is not held against the next start; longest pause between two starts.
_FORGOTTEN, _LONGEST_PAUSE = 60.0, 30.0
#: Starts in a row that fail before callers are refused at once instead of waiting for the next.
_HOPELESS = 2


class _Seat:
    """One of the processes, whoever sits there just now."""

    def __init__(self, process: RunnerProcess) -> None:
        self.process = process
        self.since = time.monotonic()
        self.deaths = 0


class RunnerPool:
    """Knows how to lend out a process that can be asked. Used by the loop's thread alone."""

    def __init__(self, launch: Launch, name: str, limits: RunnerLimits, starting: asyncio.Semaphore) -> None:
        """``starting``: held by whoever opens a model, so that few do at a time."""
        self._launch = launch
        self._starting = starting
        self._name = name
        self._limits = limits
        self._idle: list[RunnerProcess] = []
        self._waiters: deque[asyncio.Future[RunnerProcess]] = deque()
        self._seats: list[_Seat] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._ends: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._closed = False
        #: Called whenever a process has to be replaced.
        self.on_replaced: Callable[[], None] | None = None

    async def open(self) -> RunnerProcess:
        """Start all processes; gives one of them, to learn what the model is.

        Raises:
            NotServable: the model cannot be opened.
        """
        starts = await asyncio.gather(*(self._start() for _ in range(self._limits.processes)), return_exceptions=True)
        processes = [start for start in starts if isinstance(start, RunnerProcess)]
        for start in starts:
            if isinstance(start, BaseException):
                await asyncio.gather(*(process.end() for process in processes))
                raise start
        for process in processes:
            seat = _Seat(process)
            self._seats.append(seat)
            self._idle.append(process)
            self._keepers.append(asyncio.get_running_loop().create_task(self._keep(seat)))
        return self._seats[0].process

    async def take(self, deadline: float | None) -> RunnerProcess:
        """A process that nobody else asks, by ``deadline``; it has to be given back.

        Raises:
            Refused: 504 when there was none in time, 503 when none can be started.
        """
        while self._idle:
            process = self._idle.pop()
            if process.alive and not process.retired:
                return process
        if self._closed or self._failures >= _HOPELESS:
            raise unavailable(f"the process of {self._name} cannot be started just now")
        waiter: asyncio.Future[RunnerProcess] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        # Not a timeout around it: that could be cancelled in the very turn in which it was given one.
        await asyncio.wait((waiter,), timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        if not waiter.done():
            self._waiters.remove(waiter)
            raise too_late()
        return waiter.result()

    def give(self, process: RunnerProcess) -> None:
        """Give one back."""
        if process.retired:
            self._end(process)
            return
        if not process.alive:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(process)
                return
        self._idle.append(process)

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        for task in self._keepers:
            task.cancel()
        self._refuse("it is no longer served here")
        for seat in self._seats:
            self._end(seat.process)

    async def gone(self) -> None:
        """After `close`: until the last process has ended."""
        while left := [task for task in (*self._keepers, *self._ends) if not task.done()]:
            await asyncio.wait(left)

    def pids(self) -> list[int]:
        """The processes that can be asked."""
        return [seat.process.pid for seat in self._seats if seat.process.alive]

    async def _start(self) -> RunnerProcess:
        async with self._starting:
            return await RunnerProcess.start(self._launch, self._name)

    async def _keep(self, seat: _Seat) -> None:
        """Have a process that answers in this seat, for ever."""
        while True:
            reason = await self._watch(seat.process)
            if self.on_replaced is not None:
                self.on_replaced()
            old = seat.process
            if reason == "ended":
                seat.deaths = 0 if time.monotonic() - seat.since > _FORGOTTEN else seat.deaths + 1
                await old.end()
                # The first one is replaced at once: it may have been an accident.
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.5 * 2 ** (seat.deaths - 2)) if seat.deaths > 1 else 0)
            seat.process = await self._fresh()
            seat.since = time.monotonic()
            self.give(seat.process)
            if reason != "ended":
                self._retire(old)

    async def _fresh(self) -> RunnerProcess:
        pause = 1.0
        while True:
            try:
                process = await self._start()
            except (NotServable, OSError) as error:
                self._failures += 1
                say("a runner cannot be started", runner=self._name, error=str(error), pause=pause)
                if self._failures >= _HOPELESS:
                    self._refuse("its process cannot be started just now")
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            self._failures = 0
            return process

    def _retire(self, process: RunnerProcess) -> None:
        process.retired = True
        if process in self._idle:
            self._idle.remove(process)
            self._end(process)
        elif not process.alive:
            self._end(process)

    async def _watch(self, process: RunnerProcess) -> str:
        """Until something is the matter with it; gives what."""
        limit = self._limits.memory_bytes
        looks = 0
        stopped = False
        ended = asyncio.ensure_future(process.wait())
        while True:
            await asyncio.wait((ended,), timeout=_LOOK)
            if ended.done() or not process.alive:
                say("a runner ended", runner=self._name, pid=process.pid, code=ended.result() if ended.done() else None)
                return "ended"
            looks += 1
            held = process.memory()
            # Seen twice, for a machine or a container that was frozen may thaw us a moment before it.
            before, stopped = stopped, process.stopped()
            if before and stopped:
                process.kill("somebody stopped it")
            elif held > limit:
                process.kill(f"it holds {held >> 20} MB, and may hold {limit >> 20} MB")
            elif held > limit * _WORN:
                say("a runner is replaced", runner=self._name, pid=process.pid, megabytes=held >> 20)
                return "memory"
            elif looks % _PING_EVERY == 0 and process in self._idle:
                await self._ping(process)

    async def _ping(self, process: RunnerProcess) -> None:
        self._idle.remove(process)
        try:
            await process.call("ping", {}, _PING)
        except (RunnerGone, RunnerHung):
            return
        self.give(process)

    def _refuse(self, why: str) -> None:
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(_refusal(self._name, why))

    def _end(self, process: RunnerProcess) -> None:
        task = asyncio.get_running_loop().create_task(process.end())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)


def _refusal(name: str, why: str) -> Refused:
    return unavailable(f"{name} does not answer: {why}")
