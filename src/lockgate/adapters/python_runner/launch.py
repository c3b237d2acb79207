"""How a runner's process is started: on which interpreter, with what, and without what."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.adapters.python_runner.program import frames
from lockgate.adapters.python_runner.unused import hold
from lockgate.domain.registry.manifest import Column

_PROGRAM = Path(__file__).parent / "program" / "start.py"
#: Address space beyond the memory it may use: libraries reserve much that they never touch.
_RESERVE = 8 << 30
_DESCRIPTORS = 512
#: Read by whoever looks for processes that outlived their platform.
_MARK = "SUPERVISED_BY_LOCKGATE_IN"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "TZ", _MARK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """Everything that starts a runner for one model."""

    interpreter: Path
    #: The model's own files, with ``MLmodel`` at the top.
    folder: Path
    #: Where its working folders are made.
    work: Path
    columns: tuple[Column, ...]
    memory_bytes: int
    #: What it runs in place of a model: a module of this package, for an interpreter that has it.
    module: str = ""

    def command(self, fd: int) -> list[str]:
        """The program's arguments; ``fd``: of its end of the socket."""
        limits = {
            # A backstop only: its memory is watched, and it is replaced before.
            "RLIMIT_AS": 2 * self.memory_bytes + _RESERVE,
            "RLIMIT_NOFILE": _DESCRIPTORS,
            "RLIMIT_CORE": 0,
        }
        interpreter = [str(self.interpreter), "-I", "-B"]
        arguments = [str(fd), str(os.getpid()), json.dumps(limits), *([self.module] if self.module else [])]
        return [*interpreter, str(_PROGRAM), *arguments]

    def setup(self) -> bytes:
        """The first frame: which model, and what it is given."""
        columns = [
            {"name": column.name, "datatype": column.datatype, "shape": column.shape, "optional": column.optional}
            for column in self.columns
        ]
        return b"".join(frames.pack({"folder": str(self.folder), "inputs": columns}, {}))


class Desk:
    """The empty folder that a runner works in, and both ends of its socket."""

    def __init__(self, launch: Launch) -> None:
        launch.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = Path(tempfile.mkdtemp(prefix=f"runner-{os.getpid()}-", dir=launch.work))
        self.ours, self.theirs = socket.socketpair()
        # The starter holds them, not the process: it ends with the starter, and nothing of ours is its to let go.
        self._held = [hold(launch.folder), hold(launch.interpreter.parent.parent)]

    def clear(self) -> None:
        """The process has ended: nobody needs the folder any more, nor what it ran from."""
        for descriptor in self._held:
            if descriptor >= 0:
                os.close(descriptor)
        self._held = []
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(work: Path) -> None:
    """Remove the working folders of runners whose starter was killed, and could not."""
    for folder in work.glob("runner-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def environment(environ: Mapping[str, str], desk: Path) -> dict[str, str]:
    """What a model's process may know: nothing of the platform's, above all no token and no address of a database."""
    told = {name: environ[name] for name in _KEPT if name in environ}
    return told | {
        "HOME": str(desk),
        "TMPDIR": str(desk),
        "LANG": "C.UTF-8",
        # A process a core is the plan; threads that fight for it cost more than they bring.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMEXPR_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Nothing that a library would tell its makers.
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
    }


def described(header: Mapping[str, Any]) -> dict[str, Any] | str:
    """A runner's first word: what its model is, or in a sentence why it cannot be opened."""
    return header["model"] if "model" in header else str(header.get("failed", "it said nothing of its model"))
