from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from lockgate.base.errors import Exists
from lockgate.supervisor.lock import Running, hold, who_runs

RUNNING = Running(pid=7, url="http://127.0.0.1:8400", gateway="http://127.0.0.1:8401")


def test_a_second_one_is_refused_and_told_who_runs(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with hold(lock, RUNNING):
        assert who_runs(lock) == RUNNING
        with pytest.raises(Exists, match="as process 7, at http"), hold(lock, RUNNING):
            pass
    assert who_runs(lock) is None


def test_somebody_who_only_looks_keeps_nobody_from_starting(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    looking = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, os.close, (looking,)).start()
    with hold(lock, RUNNING):
        assert who_runs(lock) == RUNNING
