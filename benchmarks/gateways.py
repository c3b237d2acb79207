"""Gateways without the rest of a platform: one process here plays the control plane, over its real wire."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec

from benchmarks.running import HOST, free_ports
from benchmarks.surroundings import plain_environment, pss_mb, tree
from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.digest import canonical_json
from lockgate.domain.registry.manifest import Manifest, to_plain
from lockgate.domain.routing.table import EndpointRoute, Role, RouteTable, Target

_PATIENCE = 30.0
_TIDY_SECONDS = 0.5


@dataclass
class Control:
    """What the gateways are told, and what they said."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    port: int = 0
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    #: By worker, the generation that it last said it has, and when (monotonic seconds).
    taken: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    news: threading.Condition = field(default_factory=threading.Condition)

    def publish(self, *routes: EndpointRoute) -> float:
        """Put routes in force; gives when."""
        generation = self.state.get("generation", 0) + 1
        table = RouteTable(
            id=str(generation),
            generation=generation,
            published_at=datetime.now(UTC),
            reason="a benchmark",
            endpoints=routes,
        )
        grant = {
            "sha256": sha256(self.token.encode()).hexdigest(),
            "principal": "bench",
            "environments": [],
            "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        }
        with self.news:
            plain = to_plain(table) | {"published_at": table.published_at.isoformat()}
            access = {"revision": "1", "tokens": [grant]}
            self.state = {"generation": generation, "table": plain, "access": access}
            self.news.notify_all()
        return time.monotonic()

    def everywhere(self, workers: int, over: Callable[[], bool] = lambda: False) -> float:
        """Wait until so many workers answer by the newest generation; gives when the last of them said so.

        Raises:
            RuntimeError: they do not in half a minute, or it is ``over``.
        """
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and not over():
            at = [when for generation, when in self.taken.values() if generation == self.state["generation"]]
            if len(at) == workers:
                return max(at)
            time.sleep(0.001)
        raise RuntimeError(f"generation {self.state['generation']} is not everywhere: {self.taken}")

    def answer(self, query: dict[str, list[str]]) -> dict[str, Any] | None:
        """What a gateway that has these is told, or None when there is no news for a while."""
        with self.news:
            self.news.wait_for(lambda: query["generation"] != [str(self.state["generation"])], timeout=5.0)
            return None if query["generation"] == [str(self.state["generation"])] else self.state


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that was stopped does not wait for its answer."""


def _serve(control: Control) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state = control.answer(parse_qs(urlsplit(self.path).query))
            self._say(304 if state is None else 200, b"" if state is None else json.dumps(state).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path.endswith("/heartbeat"):
                told = json.loads(body)
                known = control.taken.get(told["worker"])
                if told["generation"] is not None and (known is None or known[0] != told["generation"]):
                    control.taken[told["worker"]] = (told["generation"], time.monotonic())
            self._say(200, b"{}")

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody looks on."""

    server = _Server((HOST, 0), Handler)
    control.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server


@dataclass
class Gateways:
    """One or more gateway processes on one port, as the supervisor starts them."""

    home: Path
    control: Control
    #: What a worker runs.
    program: str = "lockgate.dataplane.main"
    workers: int = 1
    port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def grpc(self) -> str:
        """Where they take gRPC."""
        return f"http://{HOST}:{self.port + 1}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What a caller sends along."""
        return (("authorization", f"Bearer {self.control.token}"),)

    @property
    def blobs(self) -> DirectoryBlobs:
        return DirectoryBlobs(self.home / "blobs")

    def start(self) -> None:
        """Start them and wait until each answers by the newest generation."""
        self.port = self.port or free_ports()
        secret = self.home / "secrets" / "gateway-token"
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("between them and us nobody listens", encoding="utf-8")
        env = plain_environment() | {
            "LOCKGATE_HOME": str(self.home),
            "LOCKGATE_HOST": HOST,
            "LOCKGATE_GATEWAY_PORT": str(self.port),
            "LOCKGATE_GATEWAY_GRPC_PORT": str(self.port + 1),
            # One request in a hundred is traced, and its spans are sent to us.
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self.control.port}",
            "LOCKGATE_TRACES_SAMPLE": "0.01",
            "LOCKGATE_CONTROL_URL": f"http://{HOST}:{self.control.port}",
        }
        for number in range(self.workers):
            with (self.home / f"gateway-{number}.log").open("wb") as log:
                process = subprocess.Popen(
                    (sys.executable, "-m", self.program),
                    env=env | {"LOCKGATE_WORKER": str(number)},
                    stderr=log,
                    start_new_session=True,
                )
            self.processes.append(process)
        self.everywhere()
        # They have routes before they listen; each says for itself when it does.
        until = time.monotonic() + _PATIENCE
        while not all((self.home / "gateway" / str(number) / "ready").exists() for number in range(self.workers)):
            if time.monotonic() > until:
                raise RuntimeError("the gateways have routes and do not listen")
            time.sleep(0.01)

    def everywhere(self) -> float:
        """Wait until all of them answer by the newest generation; gives when the last of them said so.

        Raises:
            RuntimeError: they do not, in half a minute; with what they logged.
        """
        try:
            return self.control.everywhere(
                self.workers, lambda: any(each.poll() is not None for each in self.processes)
            )
        except RuntimeError as error:
            logs = [file.read_text(errors="replace")[-1000:] for file in sorted(self.home.glob("gateway-*.log"))]
            raise RuntimeError("\n".join((str(error), *logs))) from error

    def stop(self) -> None:
        """End them and all they started."""
        for process in self.processes:
            for pid in tree(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        self.processes = []

    def pids(self) -> list[int]:
        """All their processes, runners too."""
        return [pid for process in self.processes for pid in tree(process.pid)]

    def memory(self) -> list[float]:
        """Megabytes (PSS) of each worker by itself."""
        return [pss_mb(process.pid) for process in self.processes]

    def metrics(self) -> dict[str, float]:
        """What the gateways counted of their log and profiles; of the worker that answers, where there are several."""
        text = httpx.get(f"{self.url}/metrics", headers=dict(self.headers), timeout=30, trust_env=False).text
        names = ("lockgate_log_written_total", "lockgate_log_dropped_total", "lockgate_profiles_dropped_total")
        lines = (line.split() for line in text.splitlines() if line.startswith(names))
        return {line[0]: float(line[1]) for line in lines}

    def copy(self, package: str, number: int) -> str:
        """The same package under another digest, for which a gateway loads it once more."""
        manifest = msgspec.json.decode(self.blobs.get(package), type=Manifest)
        return self.blobs.put(canonical_json(to_plain(replace(manifest, parameters={"copy": str(number)}))))


@contextmanager
def gateways(
    package: Sequence[EndpointRoute], home: Path, *, workers: int = 1, program: str = "lockgate.dataplane.main"
) -> Generator[Gateways]:
    """Gateways that answer by these routes; ``home`` holds the blobs, and is shared by those that are started on it.

    A log that nobody carries away would fill the disk, so its sealed segments are removed all the while.
    """
    own = Path(tempfile.mkdtemp(prefix="lockgate-bench-"))
    (own / "blobs").symlink_to(home / "blobs")
    control = Control()
    server = _serve(control)
    control.publish(*package)
    running = Gateways(own, control, program, workers)
    over = threading.Event()
    tidy = threading.Thread(target=_tidy, args=(own / "log", over), daemon=True)
    try:
        running.start()
        tidy.start()
        yield running
    finally:
        over.set()
        running.stop()
        server.shutdown()
        server.server_close()
        shutil.rmtree(own, ignore_errors=True)


def _tidy(log: Path, over: threading.Event) -> None:
    while not over.wait(_TIDY_SECONDS):
        for segment in log.glob("*/*.seg"):
            segment.unlink(missing_ok=True)


def route(name: str, *targets: Target) -> EndpointRoute:
    """The endpoint ``name`` in dev."""
    return EndpointRoute(name=f"{name}.dev", model=name, environment="dev", targets=targets)


def live(package: str, number: int = 1, model: str = "biopsy") -> Target:
    """A version that has all of the traffic."""
    version = f"{model}:{number}"
    return Target(version=version, number=number, package=package, role=Role.LIVE, weight=10_000)


def warm(package: str, number: int = 1, model: str = "biopsy") -> Target:
    """A version that is loaded and answers nobody."""
    return Target(version=f"{model}:{number}", number=number, package=package, role=Role.WARM)
