"""One runner's process as the gateway's loop sees it: started, asked one call at a time, looked at, and ended."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from lockgate.adapters.python_runner.launch import Desk, Launch, described, environment
from lockgate.adapters.python_runner.memory import resident_bytes
from lockgate.adapters.python_runner.program import frames
from lockgate.base.errors import NotServable
from lockgate.dataplane.journal import say

#: Seconds that opening a model may take.
OPENING = 300.0
#: Lines of a model's own words that are written down in a minute, and characters of each.
_MOST_LINES, _LINE = 60, 500
#: Seconds that the end of what it printed is waited for.
_LAST_WORDS = 1.0


#: Seconds that an alarm of ours may ring too late before it says nothing of the process.
_STOOD_STILL = 1.0


class RunnerGone(Exception):
    """The process ended before it answered"""


class RunnerHung(Exception):
    """The process did not answer in the time of a call, and was ended"""


class RunnerProcess:
    """Holds one model. Used by the loop's thread alone."""

    def __init__(self, name: str, desk: Desk) -> None:
        self._name = name
        self._desk = desk
        self._process: asyncio.subprocess.Process | None = None
        self._wire = _Wire()
        self._calls = 0
        self._since = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._hung = False
        self._alarm: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None
        #: What the model says of itself: task, classes, names, takes_array.
        self.model: dict[str, Any] = {}
        #: It has been told to go, and takes no further call.
        self.retired = False

    @classmethod
    async def start(cls, launch: Launch, name: str) -> RunnerProcess:
        """Start one and wait until its model is open.

        Raises:
            NotServable: the model cannot be opened, or the process ended before.
        """
        desk = Desk(launch)
        found = cls(name, desk)
        try:
            await found._open(launch)
        except BaseException:
            await found.end()
            raise
        return found

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._wire.closed and not self._hung

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return self._wire.waiting is not None

    @property
    def pid(self) -> int:
        return -1 if self._process is None else self._process.pid

    def call(
        self, op: str, columns: frames.Columns, seconds: float, said: dict[str, Any] | None = None
    ) -> asyncio.Future[tuple[dict[str, Any], Any]]:
        """Send a call, with what else is ``said`` in its header; the future holds header and columns of its answer.

        It fails with RunnerHung after ``seconds``, and the process is ended then, or with RunnerGone. Whoever gives
        the future up does not end the call.
        """
        loop = asyncio.get_running_loop()
        self._calls += 1
        future = self._wire.ask(frames.pack({**(said or {}), "id": self._calls, "op": op}, columns), loop)
        self._await_answer(loop, seconds)
        future.add_done_callback(lambda _: self._alarm.cancel() if self._alarm is not None else None)
        # Nobody may be left to hear of a failure.
        future.add_done_callback(_heard)
        return future

    def memory(self) -> int:
        """Bytes that it holds in memory; 0 when that cannot be told."""
        return resident_bytes(self.pid)

    def stopped(self) -> bool:
        """Whether somebody stopped it, so that it will answer nothing."""
        try:
            return b") T " in Path(f"/proc/{self.pid}/stat").read_bytes()
        except OSError:
            return False

    def kill(self, why: str) -> None:
        """End it at once; a call under way fails with RunnerGone."""
        if self._process is None or self._process.returncode is not None:
            return
        say("a runner is ended", runner=self._name, pid=self.pid, reason=why)
        with suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self) -> int:
        """Until it has ended by itself or was killed; its return code."""
        return -1 if self._process is None else await self._process.wait()

    async def end(self) -> None:
        """End it, and clear up behind it."""
        self.retired = True
        self._wire.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            # It ends with the pipe, unless somebody whom the model started still holds that.
            await asyncio.wait((self._reader,), timeout=_LAST_WORDS)
            self._reader.cancel()
        self._desk.ours.close()
        self._desk.clear()

    async def _open(self, launch: Launch) -> None:
        desk, loop = self._desk, asyncio.get_running_loop()
        creating = asyncio.ensure_future(_created(launch, desk))
        try:
            self._process = process = await asyncio.shield(creating)
        except asyncio.CancelledError:
            # Half started, nobody could end it.
            self._process = await creating
            raise
        finally:
            desk.theirs.close()
        if process.stdout is not None:
            self._reader = loop.create_task(self._write_down(process.stdout))
        desk.ours.setblocking(False)
        await loop.create_connection(lambda: self._wire, sock=desk.ours)
        opened = self._wire.ask([launch.setup()], loop)
        try:
            async with asyncio.timeout(OPENING):
                header, _ = await opened
        except TimeoutError as error:
            raise NotServable(f"the model was not open after {OPENING:.0f} s") from error
        except RunnerGone as error:
            raise NotServable(f"the process of the model ended before it was open ({await self.wait()})") from error
        said = described(header)
        if isinstance(said, str):
            raise NotServable(f"the model cannot be opened in its environment: {said}")
        self.model = said

    def _await_answer(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._alarm = loop.call_later(seconds, self._too_long, loop.time() + seconds, seconds)

    def _too_long(self, due: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - due > _STOOD_STILL:
            # We stood still ourselves, so it may have too, and its answer may be here already.
            self._await_answer(loop, seconds)
            return
        self._hung = True
        self.kill("it did not answer in the time of a call")
        self._wire.fail(RunnerHung())

    async def _write_down(self, pipe: asyncio.StreamReader) -> None:
        """What the model prints goes into the journal, so much and no more."""
        minute, lines = time.monotonic(), 0
        while True:
            try:
                line = await pipe.readline()
            except ValueError:  # longer than the buffer; what is left of it comes as lines of its own
                continue
            if not line:
                return
            now = time.monotonic()
            if now - minute > 60:
                if lines > _MOST_LINES:
                    say("a model printed more", runner=self._name, lines=lines - _MOST_LINES)
                minute, lines = now, 0
            lines += 1
            if lines <= _MOST_LINES:
                say(
                    "a model printed",
                    runner=self._name,
                    pid=self.pid,
                    text=line.decode(errors="replace")[:_LINE].rstrip(),
                )


async def _created(launch: Launch, desk: Desk) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *launch.command(desk.theirs.fileno()),
        env=environment(os.environ, desk.folder),
        cwd=desk.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        pass_fds=(desk.theirs.fileno(),),
        start_new_session=True,
        limit=1 << 16,
    )


def _heard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class _Wire(asyncio.Protocol):
    """Our end of the socket: one question, one answer."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[tuple[dict[str, Any], Any]] | None = None
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._needed = frames.PREFIX.size

    def ask(self, buffers: list[Any], loop: asyncio.AbstractEventLoop) -> asyncio.Future[tuple[dict[str, Any], Any]]:
        future: asyncio.Future[tuple[dict[str, Any], Any]] = loop.create_future()
        self.waiting = future
        if self.closed or self._transport is None:
            self.fail(RunnerGone())
        else:
            self._transport.write(b"".join(buffers))
        return future

    def fail(self, error: Exception) -> None:
        future, self.waiting = self.waiting, None
        if future is not None and not future.done():
            future.set_exception(error)

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()
        self.fail(RunnerGone())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.fail(RunnerGone())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) < self._needed:
            return
        try:
            header, body = frames.sizes(self._data[: frames.PREFIX.size])
            begins = frames.PREFIX.size + header
            self._needed = begins + body
            if len(self._data) < self._needed:
                return
            # Copies, so that the arrays lie where their type may lie, and the buffer is free for the next answer.
            head, rest = bytes(self._data[frames.PREFIX.size : begins]), bytes(self._data[begins : self._needed])
            found = frames.unpack(head, rest)
        except frames.BrokenFrame as error:
            say("a runner is not understood", error=str(error))
            self.close()
            return
        del self._data[: self._needed]
        self._needed = frames.PREFIX.size
        future, self.waiting = self.waiting, None
        if future is not None and not future.done():
            future.set_result(found)
