"""The two programs of this folder: ``python -m lockgate.jobworker.main job-worker | prediction-log``.

Each writes ``run/NAME.ready`` in the home when it has begun its work, and stops on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Protocol

import lockgate.wiring as wiring
from lockgate.domain.jobs.kinds import FORMS, Offer
from lockgate.jobworker.limits import Limits
from lockgate.jobworker.prediction_log import LogKeeper
from lockgate.jobworker.worker import Terms, Worker
from lockgate.settings import Settings, load

#: What nearly every job needs, and what takes seconds to import.
WARM = ("numpy", "pandas", "pyarrow.parquet", "onnxruntime", "sklearn.pipeline", "skl2onnx", "lightgbm")


class Program(Protocol):
    """Knows how to work until it is stopped."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


def job_worker(settings: Settings) -> Program:
    """Leases jobs and does them."""
    limits = Limits(memory=settings.job_memory, wall_seconds=settings.job_seconds, cpu_seconds=2 * settings.job_seconds)
    offer = Offer(queues=settings.job_queues, forms=FORMS)
    terms = Terms(handlers="lockgate.wiring:job_handlers", warm=WARM, limits=limits, offer=offer)
    name = f"{socket.gethostname()}:{os.getpid()}"
    return Worker(wiring.jobs(settings), name, terms, logs=settings.home / "logs" / "jobs")


def prediction_log(settings: Settings) -> Program:
    """Keeps the prediction log."""
    return LogKeeper(wiring.segments(settings), wiring.predictions(settings), wiring.labels(settings))


PROGRAMS: dict[str, Callable[[Settings], Program]] = {"job-worker": job_worker, "prediction-log": prediction_log}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in PROGRAMS:
        sys.exit(f"usage: python -m lockgate.jobworker.main {' | '.join(PROGRAMS)}")
    settings = load(os.environ)
    wiring.configure_logging(settings)
    program = PROGRAMS[name](settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: program.stop())
    (settings.run / f"{name}.ready").write_text(str(os.getpid()), encoding="utf-8")
    program.run()


if __name__ == "__main__":
    main()
