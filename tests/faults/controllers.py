"""Control planes without their pages: the loops alone, each in a process that can be killed, frozen and thawed."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from lockgate import wiring
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.leaders import SqlLeaders
from lockgate.base.clock import SystemClock
from lockgate.controlplane.loops.loop import run_loops
from lockgate.settings import load
from tests.faults.doomed import end, nursery

#: What a control plane imports when it begins; here once, before the fork.
for _name in (
    "lockgate.adapters.cedar.authorizer",
    "lockgate.adapters.mlflow.source",
    "lockgate.controlplane.mlflow_proxy.proxy",
    "lockgate.workflows.watch_endpoint",
):
    importlib.import_module(_name)


def lead_for_ever(home: str, url: str, port: int) -> None:
    """What a control plane does by itself."""
    settings = load({"LOCKGATE_HOME": home, "LOCKGATE_DATABASE_URL": url, "LOCKGATE_PORT": str(port)})
    wiring.configure_logging(settings)
    asyncio.run(run_loops(wiring.control_plane(settings).loops))


class Controller:
    """One of several control planes."""

    def __init__(self, home: Path, url: str, port: int) -> None:
        self._home, self._url, self.port = home, url, port
        self.process = self._start()

    def _start(self) -> ForkServerProcess:
        process = nursery().Process(target=lead_for_ever, args=(str(self._home), self._url, self.port), daemon=True)
        process.start()
        return process

    def again(self) -> None:
        """kill -9, and start it anew."""
        end(self.process)
        self.process = self._start()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        end(self.process)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


def leader_of(database: Database, concern: str) -> str:
    """Host and port of who leads it, or "" where nobody does."""
    watching = SqlLeaders(database, SystemClock(), "nobody", ())
    return next((each.holder for each in watching.shown() if each.concern == concern and each.leads), "")


def await_leader(database: Database, concern: str, *, but: str = "", seconds: float = 20.0) -> float:
    """Wait until somebody, or somebody else, leads it; gives how long that took."""
    began = time.monotonic()
    while (found := leader_of(database, concern)) in ("", but):
        assert time.monotonic() - began < seconds, f"{found or 'nobody'} leads {concern}"
        time.sleep(0.02)
    return time.monotonic() - began
