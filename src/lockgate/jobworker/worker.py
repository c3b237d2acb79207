"""Takes jobs one after the other, each into a child of its own, and sees to it that each comes to an end."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.base.errors import Conflict, Unavailable
from lockgate.domain.jobs.kinds import Offer
from lockgate.jobworker.bench import Bench
from lockgate.jobworker.joblog import JobLog
from lockgate.jobworker.limits import Limits, reason_of
from lockgate.ports import Job, Jobs

_log = logging.getLogger(__name__)

#: Seconds between two looks for work, and between two looks at the child that does it.
_LOOK, _GLANCE = 0.2, 0.1
#: Seconds before a spare that died while idle is replaced.
_PAUSE = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How this worker works."""

    #: ``module:function`` that makes the handlers in the child.
    handlers: str
    #: Modules the child imports before there is a job.
    warm: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    #: Seconds after which a job is another's when its worker is not heard of.
    lease: float = 5.0
    #: Which work it takes.
    offer: Offer = field(default_factory=Offer)


@dataclass
class _Attempt:
    """What is known of the attempt under way."""

    job: Job
    log: JobLog
    began: float
    #: When the lease was last extended.
    heard: float
    progress: str = ""
    ended: dict[str, Any] | None = None


class Worker:
    """Leases and does jobs until it is told to stop."""

    def __init__(self, jobs: Jobs, name: str, terms: Terms, *, logs: Path) -> None:
        self._jobs = jobs
        self._name = name
        self._terms = terms
        self._logs = logs
        self._stopped = False
        self._spare: Bench | None = None
        self._spare_since = 0.0

    def stop(self) -> None:
        """End after at most one glance; a job under way is given back."""
        self._stopped = True

    def run(self) -> None:
        """Work; returns after `stop`."""
        try:
            while not self._stopped:
                spare = self._keep_spare()
                if not spare.warm:
                    # A lease taken now would only be held, and lost if the child cannot even start.
                    spare.listen(_LOOK)
                elif (job := self._next()) is not None:
                    self._do(spare, job)
                else:
                    time.sleep(_LOOK)
        finally:
            if self._spare:
                self._spare.end()

    def _next(self) -> Job | None:
        try:
            return self._jobs.lease(self._name, self._terms.lease, self._terms.offer)
        except Unavailable as error:
            _log.warning("no job can be taken now: %s", error.message)
            time.sleep(_LOOK)
            return None

    def _keep_spare(self) -> Bench:
        """The spare, a new one when there is none or it has died."""
        if self._spare and not self._spare.alive:
            self._spare.listen(0)
            words = self._spare.last_words.decode(errors="replace")
            _log.error("an idle child ended with %d: %s", self._spare.code, words)
            self._spare.end()
            self._spare = None
            self._sleep(self._spare_since + _PAUSE - time.monotonic())
        if self._spare is None:
            self._spare, self._spare_since = Bench(self._terms.handlers, self._terms.warm), time.monotonic()
        return self._spare

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < until:
            time.sleep(_LOOK)

    def _do(self, bench: Bench, job: Job) -> None:
        now = time.monotonic()
        _log.info("job %s (%s, attempt %d) begins", job.id, job.kind, job.attempt)
        with JobLog(self._logs / f"{job.id}.log") as log:
            attempt = _Attempt(job=job, log=log, began=now, heard=now)
            try:
                bench.give(job, self._terms.limits)
                failure = self._attend(bench, attempt)
                if failure is not None:
                    sentence, retry = failure
                    bench.stop_child()  # before anybody hears that the job has failed
                    _log.warning("job %s failed: %s", job.id, sentence)
                    self._jobs.write(job, log.unseen())
                    self._jobs.fail(job, sentence, retry=retry)
                elif text := log.unseen():
                    self._jobs.write(job, text)
            except Conflict:
                # Cancelled, or so late that another worker has it. Whatever the child still writes is refused.
                _log.warning("job %s is no longer ours; dropped", job.id)
            except Unavailable as error:
                # The lease runs out by itself, and the job is taken again then.
                _log.warning("job %s cannot be reported on: %s", job.id, error.message)
            finally:
                if not bench.stop_child():
                    bench.end()
                    self._spare = None
        _log.info("job %s ended after %.1f s", job.id, time.monotonic() - now)

    def _attend(self, bench: Bench, attempt: _Attempt) -> tuple[str, bool] | None:
        """Stay with the child until it has ended; gives why it failed and whether to try again, None when done."""
        limits, more = self._terms.limits, True
        while more and attempt.ended is None and bench.ended is None:
            messages, printed, more = bench.listen(_GLANCE)
            attempt.log.add(printed)
            for message in messages:
                self._hear(attempt, message)
            if self._stopped:
                return "its worker was stopped", True
            if time.monotonic() - attempt.began > limits.wall_seconds:
                return f"it took longer than the {limits.wall_seconds:g} s a job may take", False
            self._beat(attempt)
        if attempt.ended is None:
            return reason_of(bench.code if bench.ended is None else bench.ended, limits), True
        _, printed, _ = bench.listen(0)
        attempt.log.add(printed)
        if "done" in attempt.ended:
            return None
        return str(attempt.ended["failed"]), bool(attempt.ended["retry"])

    def _hear(self, attempt: _Attempt, message: dict[str, Any]) -> None:
        if "progress" in message:
            attempt.progress = str(message["progress"])
            attempt.heard = 0.0  # people wait for it: tell it with the next beat, which is now
        elif "done" in message or "failed" in message:
            attempt.ended = message

    def _beat(self, attempt: _Attempt) -> None:
        if attempt.ended is not None or time.monotonic() - attempt.heard < self._terms.lease / 6:
            return
        attempt.heard = time.monotonic()
        text = attempt.log.unseen()
        try:
            self._jobs.extend(attempt.job, self._terms.lease, progress=attempt.progress)
            if text:
                self._jobs.write(attempt.job, text)
        except Unavailable as error:
            # While the database is away nobody else can take the job either: the work goes on, and is told later.
            attempt.log.show_again(text)
            _log.warning("job %s goes on unheard: %s", attempt.job.id, error.message)
