"""The loop that keeps children alive, and the order in which they go."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lockgate.base.errors import Unavailable
from lockgate.supervisor.child import Child, ChildSpec, describe
from lockgate.supervisor.lifeline import Lifeline

#: Seconds between the restarts of a child that keeps dying; they double from its first pause on.
LONGEST_PAUSE = 30.0
#: Longest pause in which those who wait at a child's socket are better off than if they went to another.
PATIENT = 1.0
#: A child that lived this long has recovered; its next death starts the back-off anew.
STEADY = 60.0
#: Deaths before a child was ready even once, after which starting the platform is given up.
HOPELESS = 3

Say = Callable[[str], None]


class Supervisor:
    """Runs children until it is told to stop.

    One thread. Signals and deaths wake it through a pipe, so that neither waits for the next look.
    """

    def __init__(self, specs: Sequence[ChildSpec], *, logs: Path, status: Path, say: Say) -> None:
        self._children = [Child(spec, logs / f"{spec.name}.log") for spec in specs]
        self._status = status
        self._say = say
        self._stops_asked = 0
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, *, on_ready: Callable[[], None], on_late: Callable[[str], None]) -> None:
        """Start, watch, and when told to stop, stop everything.

        Args:
            on_ready: Called once, when every awaited child is ready.
            on_late: Called with the name of each child that becomes ready without being awaited.

        Raises:
            Unavailable: a child kept dying before it was ever ready; everything has been stopped then.
        """
        lifeline = Lifeline()
        try:
            with self._woken_by_signals():
                try:
                    self._watch(lifeline, on_ready, on_late)
                finally:
                    self._stop_all(lifeline)
        finally:
            lifeline.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            self._status.unlink(missing_ok=True)

    def _watch(self, lifeline: Lifeline, on_ready: Callable[[], None], on_late: Callable[[str], None]) -> None:
        told = False
        while not self._stops_asked:
            changed = False
            for child in self._children:
                changed |= self._look_after(child, lifeline)
                if child.ready and not child.was_ready:
                    child.was_ready = True
                    if not child.spec.awaited:
                        on_late(child.spec.name)
            if not told and all(child.was_ready for child in self._children if child.spec.awaited):
                told = True
                on_ready()
            lifeline.watch()
            if changed:
                self._write_status()
            self._sleep(0.5 if all(child.ready for child in self._children) else 0.05)

    def _look_after(self, child: Child, lifeline: Lifeline) -> bool:
        """One look at one child; True when something changed."""
        now = time.monotonic()
        if child.process is None:
            if not self._may_start(child, now):
                return False
            lifeline.add(child.start(now))
            return True
        code = child.death()
        if code is not None:
            self._bury(child, code, now, lifeline)
            return True
        if not child.ready and child.spec.ready():
            child.ready = True
            return True
        return False

    def _may_start(self, child: Child, now: float) -> bool:
        if now < child.start_again_at:
            return False
        return all(other.was_ready for other in self._children if other.spec.name in child.spec.after)

    def _bury(self, child: Child, code: int, now: float, lifeline: Lifeline) -> None:
        pid, reason = child.pid, child.last_line()
        child.end()  # whatever it started itself must not outlive it
        if pid is not None:
            lifeline.drop(pid)
        child.process, child.ready = None, False
        child.deaths = 1 if now - child.started_at > STEADY else child.deaths + 1
        said = f"{child.spec.name} {describe(code)}" + (f": {reason}" if reason else "")
        if not child.was_ready and child.spec.awaited and child.deaths >= HOPELESS:
            raise Unavailable(f"{said} — {child.deaths} times, never ready", hint=f"its whole log is {child.log}")
        pause = min(LONGEST_PAUSE, child.spec.first_pause * 2 ** (child.deaths - 1))
        if pause > PATIENT:
            child.stop_listening()
        child.start_again_at = now + pause
        child.restarts += 1
        self._say(f"{said}\n  starting it again in {pause:g} s; log: {child.log}")

    def _stop_all(self, lifeline: Lifeline) -> None:
        for turn in sorted({child.spec.stop_turn for child in self._children}):
            going = [child for child in self._children if child.spec.stop_turn == turn and child.process]
            for child in going:
                child.ask_to_stop()
            self._await_end(going)
            for child in going:
                if child.death() is None:
                    self._say(f"{child.spec.name} did not stop in time and was killed")
                child.end()
                child.stop_listening()
                if child.pid is not None:
                    lifeline.drop(child.pid)

    def _await_end(self, going: Sequence[Child]) -> None:
        began = time.monotonic()
        patience = max((child.spec.stop_seconds for child in going), default=0.0)
        # Asked a second time means now.
        while self._stops_asked < 2 and time.monotonic() - began < patience:
            if all(child.death() is not None for child in going):
                return
            self._sleep(0.1)

    def _write_status(self) -> None:
        now = time.monotonic()
        lines = [
            {
                "name": child.spec.name,
                "pid": child.pid,
                "state": "ready" if child.ready else "starting" if child.process else "waiting",
                "restarts": child.restarts,
                "since": time.time() - (now - child.started_at) if child.process else None,
                "log": str(child.log),
            }
            for child in self._children
        ]
        beside = self._status.with_suffix(".new")
        try:
            beside.write_text(json.dumps(lines), encoding="utf-8")
            beside.replace(self._status)
        except OSError as error:
            # Looking after the children matters more than telling about them.
            self._say(f"{self._status} cannot be written: {error.strerror}")

    @contextmanager
    def _woken_by_signals(self) -> Generator[None]:
        def asked(number: int, frame: object) -> None:
            self._stops_asked += 1

        def noticed(number: int, frame: object) -> None:
            """A child died; waking up is all there is to it."""

        handlers = {signal.SIGINT: asked, signal.SIGTERM: asked, signal.SIGHUP: asked, signal.SIGCHLD: noticed}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        waker = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(waker)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _sleep(self, seconds: float) -> None:
        readable, _, _ = select.select([self._wake_reader], [], [], seconds)
        if readable:
            os.read(self._wake_reader, 4096)
