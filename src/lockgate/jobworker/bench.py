"""The worker's side of a child: starting it, giving it a job, listening to it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lockgate.jobworker.limits import Limits
from lockgate.ports import Job

_CHUNK = 65536
#: A line longer than this is no message of ours.
_LONGEST_LINE = 16 * 2**20
#: Seconds between closing its pipe and ending.
_LAST_BREATH = 5.0
#: Seconds between two looks.
_GLANCE = 0.1


class Bench:
    """A process that has everything imported and forks a child for each job, one at a time.

    Args:
        handlers: ``module:function`` that makes the handlers in a job's child.
        warm: Modules it imports before there is a job.
    """

    def __init__(self, handlers: str, warm: Sequence[str]) -> None:
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                (
                    *(sys.executable, "-m", "lockgate.jobworker.spare"),
                    *(str(writer), str(os.getpid()), handlers, *warm),
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                process_group=0,
            )
        finally:
            os.close(writer)
        self._told = reader
        self._rest = b""
        #: Whether it has imported everything and takes jobs.
        self.warm = False
        #: The child that does a job just now, and the code that the last one ended with.
        self.child: int | None = None
        self.ended: int | None = None
        #: The end of what it printed.
        self.last_words = b""
        self._selector = selectors.DefaultSelector()
        for pipe in (self._told, self._process.stdout):
            if pipe is not None:
                self._selector.register(pipe, selectors.EVENT_READ)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def code(self) -> int:
        """How it ended, as `subprocess` counts. One that has fallen silent without ending is killed."""
        try:
            return self._process.wait(timeout=_LAST_BREATH)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    def give(self, job: Job, limits: Limits) -> None:
        """Hand it a job; a process that is gone shows when it is listened to."""
        self.ended = None
        request = {"job": asdict(job), "limits": asdict(limits)}
        if self._process.stdin:
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return

    def listen(self, seconds: float) -> tuple[list[dict[str, Any]], bytes, bool]:
        """Wait for word, at most so long; gives messages, what was printed, and whether more can come."""
        alive = self.alive
        messages: list[dict[str, Any]] = []
        printed = b""
        for key, _ in self._selector.select(seconds):
            chunk = os.read(key.fd, _CHUNK)
            if not chunk:
                self._selector.unregister(key.fd)
            elif key.fd == self._told:
                messages += self._messages(chunk)
            else:
                printed += chunk
                self.last_words = (self.last_words + chunk)[-2000:]
        # What it started itself may hold its pipes open after its end.
        silent = not alive and not messages and not printed
        return messages, printed, self._told in self._selector.get_map() and not silent

    def end(self) -> None:
        """Kill it and all it started, if it still is, and forget it."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        os.close(self._told)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def _messages(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
        for line in lines:
            message = _message(line)
            self.warm |= "warm" in message
            if "child" in message:
                self.child = message["child"]
            elif "ended" in message:
                self.child, self.ended = None, message["ended"]
            else:
                yield message

    def stop_child(self) -> bool:
        """Kill the job's child and all it started; says whether the bench is ready for another job."""
        give_up = time.monotonic() + _LAST_BREATH
        # One that has said its last word is about to end by itself.
        more = self.ended is not None or self.listen(_GLANCE)[2]
        while more and self.ended is None and time.monotonic() < give_up:
            if self.child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.child, signal.SIGKILL)
            more = self.listen(_GLANCE)[2]
        return self.ended is not None


def _message(line: bytes) -> dict[str, Any]:
    """What a line says; nothing when it is no message, for a model's code can write to that pipe as well."""
    try:
        message: Any = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
