"""A program of the story in a process of its own: commands go in and answers come out, one JSON object a line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

Json = dict[str, Any]

#: Seconds that one command may take.
_PATIENCE = 60.0
#: Seconds it gets to end by itself.
_LAST_BREATH = 2.0


class NotHappened(Exception):
    """Part of the story did not happen."""


class Child:
    """Our end of the conversation."""

    def __init__(self, module: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        """
        Args:
            log: file for what it prints besides its answers.
            env: its environment, ours when None.
        """
        self._module, self._log = module, log
        with log.open("ab") as errors:
            # In a session of its own, so that a Ctrl-C in the terminal is ours to deal with.
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                text=True,
                start_new_session=True,
            )
        self._news = threading.Condition()
        self._answers: dict[int, Json] = {}
        self._asked = 0
        self._ended = False
        self._state: Json = {}
        threading.Thread(target=self._listen, name=module, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def state(self) -> Json:
        """What it last said of itself."""
        return self._state

    def tell(self, command: str, **details: Any) -> int:
        """Ask for something; gives the number that its answer will have. It does one thing after the other."""
        self._asked += 1
        into = cast(IO[str], self._process.stdin)
        try:
            into.write(json.dumps({"number": self._asked, "command": command, **details}) + "\n")
            into.flush()
        except BrokenPipeError as error:
            raise self._gone() from error
        return self._asked

    def answer(self, number: int, *, patience: float = _PATIENCE) -> Json:
        """Wait for an answer.

        Raises:
            NotHappened: the process ended, or ``patience`` seconds were not enough.
        """
        with self._news:
            self._news.wait_for(lambda: number in self._answers or self._ended, patience)
            if number in self._answers:
                return self._answers.pop(number)
        if self._ended:
            raise self._gone()
        raise NotHappened(f"{self._module} did not answer within {patience:.0f} s")

    def ask(self, command: str, **details: Any) -> Json:
        """`tell`, then `answer`."""
        return self.answer(self.tell(command, **details))

    def wait_until(self, what: str, holds: Callable[[Json], bool], *, patience: float = _PATIENCE) -> None:
        """Wait until its state is as wished; raises as `answer`."""
        with self._news:
            done = self._news.wait_for(lambda: self._ended or holds(self._state), patience)
        if self._ended:
            raise self._gone()
        if not done:
            raise NotHappened(f"{what}: not within {patience:.0f} s")

    def close(self) -> None:
        """Ask it to end, and end it if it does not."""
        if not self._ended:
            cast(IO[str], self._process.stdin).close()
        try:
            self._process.wait(_LAST_BREATH)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        for line in cast(IO[str], self._process.stdout):
            message: Json = json.loads(line)
            with self._news:
                if "number" in message:
                    self._answers[message["number"]] = message
                else:
                    self._state = message
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _gone(self) -> NotHappened:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if any(map(str.isalpha, line))]
        return NotHappened(f"{self._module} ended: {lines[-1] if lines else 'it said nothing'}; see {self._log}")


def commands(source: IO[str]) -> Iterator[Json]:
    """The child's end: each command, until ours is closed."""
    for line in source:
        yield json.loads(line)


def reply(message: Json, into: IO[str]) -> None:
    """The child's end: one answer, or, without a number, what it says of itself."""
    into.write(json.dumps(message) + "\n")
    into.flush()
