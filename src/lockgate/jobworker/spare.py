"""A process that imports what is heavy once, then forks a child for each job: a job starts in milliseconds, and in a
process of its own.

Run by the worker as ``python -m lockgate.jobworker.spare FD PARENT MODULE:FUNCTION MODULE...``. Jobs come on standard
input, one at a time, as lines of JSON. What is to be told goes to FD as lines of JSON: ``{"warm": true}`` once, then
for each job ``{"child": pid}``, any ``{"progress": text}``, ``{"done": result}`` or ``{"failed": sentence, "retry":
bool}``, and last ``{"ended": code}``. What is printed goes into the job's log.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn

from lockgate.base.errors import Conflict, LockgateError, Overloaded, Unavailable
from lockgate.jobworker.limits import Limits, apply
from lockgate.ports import Job

#: Does one job, closes it in the transaction that holds its effect, and gives what is shown as its result.
Handler = Callable[[Job, Callable[[str], None]], dict[str, Any]]
#: Makes the handlers of all kinds from the environment.
Handlers = Callable[[Mapping[str, str]], Mapping[str, Handler]]

#: What another attempt may cure.
PASSING = (Unavailable, Overloaded, Conflict)
#: Jobs give way to whoever waits for an answer.
NICENESS = 10

_PR_SET_PDEATHSIG = 1


def main() -> None:
    _end_with(int(sys.argv[2]))
    os.nice(NICENESS)
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1) as told:
        make = _named(sys.argv[3])
        for module in sys.argv[4:]:
            importlib.import_module(module)
        _tell(told, {"warm": True})
        while line := sys.stdin.readline():
            sys.stdout.flush()
            # Its temporary files go when it ends, also when it is killed and cannot clear up.
            desk = tempfile.mkdtemp(prefix="lockgate-job-")
            parent, child = os.getpid(), os.fork()
            if child == 0:
                os.environ["TMPDIR"] = tempfile.tempdir = desk
                _be_child(parent, line, make, told)
            _tell(told, {"child": child})
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            # What it started and left behind goes with it; not reaped yet, its number cannot be another's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            shutil.rmtree(desk, ignore_errors=True)
            _tell(told, {"ended": os.waitstatus_to_exitcode(status)})


def _be_child(parent: int, line: str, make: Handlers, told: IO[str]) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        _end_with(parent)
        _watch_input()
        request: dict[str, Any] = json.loads(line)
        # Made here and not before the fork: a database connection must not be shared by two processes.
        handlers = make(os.environ)
        apply(Limits(**request["limits"]))
        said = _work(Job(**request["job"]), handlers, told)
        # What it printed goes first: after its last word nobody listens for long.
        sys.stdout.flush()
        sys.stderr.flush()
        _tell(told, said)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not through the parent's exit handlers, which are not this process's own.
        os._exit(code)


def _work(job: Job, handlers: Mapping[str, Handler], told: IO[str]) -> dict[str, Any]:
    handler = handlers.get(job.kind)
    if handler is None:
        return {"failed": f"nobody here knows how to do a job of kind {job.kind!r}", "retry": False}
    try:
        return {"done": handler(job, lambda text: _tell(told, {"progress": text}))}
    except LockgateError as error:
        sentence = "; ".join((error.message, *error.problems)) + (f" ({error.hint})" if error.hint else "")
        return {"failed": sentence, "retry": isinstance(error, PASSING)}
    except MemoryError:
        return {"failed": "it needs more memory than a job may use", "retry": False}
    except Exception as error:
        # The edge of a process: whatever a model's library raises becomes the reason, and the log has the rest.
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"[:2000], "retry": False}


def _named(spec: str) -> Handlers:
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


def _tell(told: IO[str], what: dict[str, Any]) -> None:
    told.write(json.dumps(what) + "\n")


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its worker, which may itself be killed without notice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _watch_input() -> None:
    """Where the kernel cannot do that: our input ends with the worker, too."""

    def wait() -> None:
        while os.read(0, 1024):  # not through sys.stdin, whose lock would be held at our own end
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()
