"""``python -I start.py FD PARENT LIMITS [MODULE]``: holds one model and answers for it, until its socket ends.

The interpreter is the model's own and knows nothing of this package, so the package is loaded from where this file is.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path

#: Not the package's real name: a model's environment may hold another release of it.
_NAME = "lockgate_runner_program"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    fd, parent, limits = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    _end_with(parent)
    for kind, most in limits.items():
        _limit(getattr(resource, kind), int(most))
    module = sys.argv[4] if len(sys.argv) > 4 else _packaged()
    importlib.import_module(module).serve(socket.socket(fileno=fd))
    # Not through a library's exit handlers, which may wait for threads of its own.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _packaged() -> str:
    """The module that serves a model, of the package around this file."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        sys.exit("the program's own files cannot be loaded")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = package
    spec.loader.exec_module(package)
    return f"{_NAME}.serve"


def _end_with(parent: int) -> None:
    """Have the kernel end this process with the one that started it, however that ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ctrl-C is for the platform; it ends its runners when their last request is answered.
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
