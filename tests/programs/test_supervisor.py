from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.base.errors import NotAllowedNow
from lockgate.supervisor.home import Home
from lockgate.supervisor.up import down, status

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).with_name("small_platform.py")

#: Says it is ready, lives until SIGTERM, and writes down when it was stopped.
STEADY = """
import os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["HERE"])
def stop(number, frame):
    (here / "{name}.stopped").write_text(str(time.monotonic()))
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(here / "{name}.pid").write_text(str(os.getpid()))
(here / "{name}.ready").write_text("yes")
while True: time.sleep(0.05)
"""
#: The same, with a child of its own that knows nothing of stopping.
PARENT = (
    """
import os, subprocess, sys
inner = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"])
open(os.environ["HERE"] + "/inner.pid", "w").write(str(inner.pid))
"""
    + STEADY
)
#: Answers each connection with its name, on a socket that was handed to it.
LISTENING = """
import os, pathlib, socket
here = pathlib.Path(os.environ["HERE"])
server = socket.socket(fileno=int(os.environ["LOCKGATE_GATEWAY_FD"]))
(here / "{name}.pid").write_text(str(os.getpid()))
(here / "{name}.ready").write_text("yes")
while True:
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall(b"here is {name}")
    connection.close()
"""
#: What the control plane does at its first start.
WRITING = (
    """
import os, pathlib
token = pathlib.Path(os.environ["HERE"]) / "secrets" / "admin-token"
token.exists() or token.write_text("lg_first")
"""
    + STEADY
)
STUBBORN = STEADY.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")


def steady(name: str, code: str = STEADY, **more: Any) -> dict[str, Any]:
    return {"name": name, "code": code.replace("{name}", name), "ready": f"{name}.ready", **more}


def free_row() -> int:
    """A port that is free together with the next two."""
    while True:
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except OSError:
                continue
            return port


def eventually(true: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


class Platform:
    def __init__(self, root: Path) -> None:
        self.root = root / "home"
        self.root.mkdir()
        self.port = free_row()
        self.said = root / "said"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *children: dict[str, Any]) -> subprocess.Popen[bytes]:
        listing = self.root.parent / "children.json"
        listing.write_text(json.dumps(children))
        with self.said.open("ab") as out:
            process = subprocess.Popen(
                (sys.executable, str(SCRIPT), str(self.root), str(self.port), str(listing)), stdout=out, stderr=out
            )
        self.processes.append(process)
        return process

    def text(self) -> str:
        return self.said.read_text()

    def pid(self, name: str) -> int:
        path = self.root / f"{name}.pid"
        eventually(lambda: path.exists() and path.read_text())
        return int(path.read_text())


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


def test_it_says_where_things_are_when_all_awaited_children_are_ready_and_later_that_the_last_is(platform: Platform):
    process = platform.start(steady("a"), steady("late", after=["a"], awaited=False, nice=5))
    eventually(lambda: "late ready after" in platform.text())
    said = platform.text()
    assert f"http://127.0.0.1:{platform.port}/mlflow" in said
    assert said.index("ready in") < said.index("late ready after")
    assert os.getpriority(os.PRIO_PROCESS, platform.pid("late")) == os.getpriority(os.PRIO_PROCESS, process.pid) + 5


def test_terminating_it_stops_every_child_in_turn_and_leaves_no_process(platform: Platform):
    process = platform.start(steady("control", PARENT), steady("gateway", stop_turn=0))
    eventually(lambda: "ready in" in platform.text())
    pids = [platform.pid(name) for name in ("control", "gateway", "inner")]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not [pid for pid in pids if lives(pid)]
    stopped = {name: float((platform.root / f"{name}.stopped").read_text()) for name in ("control", "gateway")}
    assert stopped["gateway"] < stopped["control"]
    assert platform.text().endswith("stopped\n")


def test_a_child_that_does_not_stop_in_time_is_killed(platform: Platform):
    process = platform.start(steady("deaf", STUBBORN, stop_seconds=0.5))
    eventually(lambda: "ready in" in platform.text())
    pid = platform.pid("deaf")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert not lives(pid)
    assert "deaf did not stop in time and was killed" in platform.text()


def test_a_second_signal_means_now(platform: Platform):
    process = platform.start(steady("deaf", STUBBORN, stop_seconds=60))
    eventually(lambda: "ready in" in platform.text())
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 0


def test_a_child_that_dies_is_started_again_and_the_reason_is_told(platform: Platform):
    platform.start(steady("a"))
    eventually(lambda: "ready in" in platform.text())
    first = platform.pid("a")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: platform.pid("a") != first)
    assert "a was ended by SIGKILL" in platform.text()
    assert "starting it again in 1 s" in platform.text()
    running = status(Home(root=platform.root))
    assert running is not None
    eventually(lambda: (status(Home(root=platform.root)) or (0, [{}]))[1][0].get("state") == "ready")


def test_who_connects_while_a_gateway_restarts_waits_and_is_answered(platform: Platform):
    port = platform.port + 1
    platform.start(steady("gateway", LISTENING, listen=port, first_pause=0.5))
    eventually(lambda: "ready in" in platform.text())
    os.kill(platform.pid("gateway"), signal.SIGKILL)
    eventually(lambda: "gateway was ended" in platform.text())
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"anybody there?")
        assert connection.recv(100) == b"here is gateway"


def test_it_gives_up_on_a_child_that_never_gets_ready_and_repeats_its_last_words(platform: Platform):
    steady_child = steady("a")
    broken = {"name": "broken", "code": "import sys; sys.exit('no such table')", "ready": "never"}
    process = platform.start(steady_child, broken)
    assert process.wait(20) == 1
    said = platform.text()
    assert "error: broken stopped with code 1: no such table — 3 times, never ready" in said
    assert "hint: its whole log is" in said
    assert not lives(platform.pid("a"))


def test_killing_the_supervisor_leaves_no_orphan(platform: Platform):
    process = platform.start(steady("a", PARENT), steady("b"))
    eventually(lambda: "ready in" in platform.text())
    pids = [platform.pid(name) for name in ("a", "b", "inner")]
    process.kill()
    process.wait()
    eventually(lambda: not any(map(lives, pids)))
    assert (platform.root / "a.stopped").exists(), "they were asked, not just killed"


def test_what_survives_supervisor_and_guard_is_ended_by_the_next_start(platform: Platform):
    process = platform.start(steady("a"))
    eventually(lambda: "ready in" in platform.text())
    stray = platform.pid("a")
    (guard,) = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if f") S {process.pid} " in _read(folder / "stat") and b"guard.py" in _read_bytes(folder / "cmdline")
    ]
    process.send_signal(signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    process.kill()
    process.wait()
    assert lives(stray)
    (platform.root / "a.pid").unlink()
    platform.start(steady("a"))
    eventually(lambda: platform.text().count("ready in") == 2)
    assert not lives(stray)
    assert "ended 1 processes that an earlier lockgate had left behind" in platform.text()


def _read(path: Path) -> str:
    return _read_bytes(path).decode(errors="replace")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_second_start_in_the_same_home_is_refused_with_process_and_address(platform: Platform):
    first = platform.start(steady("a"))
    eventually(lambda: "ready in" in platform.text())
    second = platform.start(steady("a"))
    assert second.wait(10) == 1
    expected = f"already running in {platform.root} as process {first.pid}, at http://127.0.0.1:{platform.port}"
    assert expected in platform.text()
    assert "hint:" in platform.text()


@pytest.mark.parametrize(("offset", "what"), [(0, "pages and API"), (1, "predictions"), (2, "predictions by gRPC")])
def test_a_taken_port_is_named_with_a_way_out(platform: Platform, offset: int, what: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", platform.port + offset))
        taken.listen()
        process = platform.start(steady("a"))
        assert process.wait(10) == 1
    said = platform.text()
    assert f"port {platform.port + offset} on 127.0.0.1, meant for {what}, is taken" in said
    assert "--port" in said
    assert not (platform.root / "a.pid").exists()


def test_the_command_takes_its_port_from_the_settings_too(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = {"PATH": os.environ["PATH"], "LOCKGATE_HOME": str(tmp_path / "home"), "LOCKGATE_PORT": str(port)}
        command = (sys.executable, "-m", "lockgate.cli.main", "up")
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert f"port {port} on 127.0.0.1, meant for pages and API, is taken" in done.stdout + done.stderr


def test_it_tells_where_everything_is_asked_for(platform: Platform):
    platform.start(steady("a"))
    eventually(lambda: "ready in" in platform.text())
    said = platform.text()
    assert f"gateway   http://127.0.0.1:{platform.port + 1}\n" in said
    assert f"gRPC      127.0.0.1:{platform.port + 2}\n" in said


def test_the_first_administrators_token_is_shown_at_the_first_start_only(platform: Platform):
    child = steady("control", WRITING)
    process = platform.start(child)
    eventually(lambda: "ready in" in platform.text())
    process.terminate()
    assert process.wait(10) == 0
    platform.start(child)
    eventually(lambda: platform.text().count("ready in") == 2)
    assert platform.text().count("lg_first") == 1


def test_the_home_is_closed_to_others(platform: Platform):
    platform.start(steady("a"))
    eventually(lambda: "ready in" in platform.text())
    for name in ("", "run", "secrets", "logs"):
        assert stat.S_IMODE((platform.root / name).stat().st_mode) == 0o700
    assert stat.S_IMODE((platform.root / "logs" / "a.log").stat().st_mode) == 0o600


def test_down_stops_it_from_elsewhere_and_refuses_when_nothing_runs(platform: Platform):
    home = Home(root=platform.root)
    process = platform.start(steady("a"))
    eventually(lambda: "ready in" in platform.text())
    assert down(home) == process.pid
    assert process.wait(5) == 0
    assert status(home) is None
    with pytest.raises(NotAllowedNow, match="does not run"):
        down(home)
