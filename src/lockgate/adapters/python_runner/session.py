"""A runner that is asked from one thread, one call after the other: packaging and gates have no event loop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from lockgate.adapters.python_runner.inputs import as_columns, matrix_type
from lockgate.adapters.python_runner.launch import Desk, Launch, described, environment
from lockgate.adapters.python_runner.memory import resident_bytes
from lockgate.adapters.python_runner.program import frames
from lockgate.base.errors import Invalid, NotServable

#: Seconds that opening a model may take, and one call.
_OPENING = 300.0
_CALL = 120.0


class RunnerSession:
    """One runner's process, and the model it holds."""

    def __init__(self, launch: Launch) -> None:
        """Start it and wait until its model is open; raises NotServable, with what the model's libraries said."""
        desk = Desk(launch)
        self._desk, self._socket = desk, desk.ours
        try:
            sys.stdout.flush()
            self._process = subprocess.Popen(
                launch.command(desk.theirs.fileno()),
                env=environment(os.environ, desk.folder),
                cwd=desk.folder,
                stdin=subprocess.DEVNULL,
                pass_fds=(desk.theirs.fileno(),),
                start_new_session=True,
            )
        finally:
            desk.theirs.close()
        try:
            self._socket.sendall(launch.setup())
            said = described(self._next(_OPENING)[0])
            if isinstance(said, str):
                raise NotServable(
                    f"the model cannot be opened in its environment: {said}",
                    hint="load it with mlflow.pyfunc.load_model in an environment of its requirements.txt",
                )
        except BaseException:
            self.close()
            raise
        #: What the model says of itself: task, classes, names, takes_array.
        self.model: dict[str, Any] = said
        self._calls = 0
        self._columns = launch.columns
        self._matrix = matrix_type(launch.columns, takes_array=bool(said["takes_array"]))

    def rows(self, frame: Any) -> frames.Columns:
        """Rows of a DataFrame in the form that they travel in."""
        return as_columns(frame, self._columns, self._matrix)

    def answer(self, rows: frames.Columns) -> frames.Columns:
        """Ask it about some rows.

        Raises:
            Invalid: the model refuses them.
            NotServable: its process ended, or said nothing for two minutes.
        """
        self._calls += 1
        frames.send(self._socket, {"id": self._calls, "op": "predict"}, rows)
        header, found = self._next(_CALL)
        if "refused" in header:
            raise Invalid(f"the model refuses these rows: {header['refused'][:300]}")
        return found

    def memory(self) -> int:
        """Bytes that its process holds; 0 when it has ended."""
        return resident_bytes(self._process.pid)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._desk.clear()

    def _next(self, seconds: float) -> tuple[dict[str, Any], frames.Columns]:
        self._socket.settimeout(seconds)
        try:
            frame = frames.receive(self._socket)
        except TimeoutError as error:
            raise NotServable(f"the model's process said nothing for {seconds:.0f} s") from error
        except (OSError, frames.BrokenFrame) as error:
            raise NotServable(f"the model's process is not understood: {error}") from error
        if frame is None:
            raise NotServable(f"the model's process ended by itself: {self._ending()}", hint="see the job's log")
        return frame

    def _ending(self) -> str:
        give_up = time.monotonic() + 5
        while self._process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.01)
        code = self._process.returncode
        return "it still runs" if code is None else f"signal {-code}" if code < 0 else f"code {code}"
