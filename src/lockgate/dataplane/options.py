"""What a gateway is told by its environment, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.base.errors import BadSettings
from lockgate.dataplane.events.settings import EventSettings, read_events
from lockgate.dataplane.telemetry.settings import DEFAULTS as TELEMETRY
from lockgate.dataplane.telemetry.settings import OWN_SETTINGS, TelemetrySettings, read_telemetry


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The settings of one gateway worker."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8401
    #: A listening socket the supervisor keeps open across restarts, so that no connection waiting in it is lost.
    socket_fd: int | None = None
    #: The same for gRPC; the port is 0 where it is not wanted.
    grpc_port: int = 8402
    grpc_fd: int | None = None
    #: Base address of the control plane, and the file with the token for it.
    control_url: str
    token_file: Path
    #: Which of the gateways this is; names its folder and its profiles.
    worker: str = "0"
    telemetry: TelemetrySettings = TELEMETRY
    #: Where payloads are sent; None sends none.
    events: EventSettings | None = None
    #: Bytes of the prediction log, of all workers together, that may wait to be carried away. Beyond that, records are
    #: dropped and counted, and answers that demand a record are refused.
    log_max_bytes: int = 2 << 30
    #: Largest body in bytes.
    max_body: int = 16 << 20
    max_connections: int = 4096
    #: Requests, and bytes of their bodies, that may be under way at once; more is shed.
    max_inflight: int = 1024
    max_inflight_bytes: int = 256 << 20
    #: Largest body in bytes once it is out of its compression; 0 takes four times `max_body`.
    unpacked: int = 0
    #: Seconds that a request may have to wait for those before it and still be let in.
    longest_wait: float = 0.1
    #: Of each principal, in this worker: requests a second, how many of them at once after a rest, and how many under
    #: way. 0 sets no limit.
    tenant_rate: float = 0.0
    tenant_burst: float = 0.0
    tenant_inflight: int = 0
    #: Seconds between two proofs that a version still answers.
    check_seconds: float = 10.0
    #: Seconds for the head, for the body, between requests, and for a reader to take its answer.
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    #: How long a gateway without routes waits for the first before it listens all the same. Until then, workers that
    #: share its port take the requests.
    start_seconds: float = 10.0
    #: How long a gateway that was told to stop goes on answering new requests, each with ``Connection: close``.
    drain_seconds: float = 2.0
    #: How long it then waits for what is under way.
    finish_seconds: float = 30.0

    @property
    def max_unpacked(self) -> int:
        """Largest body in bytes once it is out of its compression."""
        return self.unpacked or 4 * self.max_body

    @property
    def folder(self) -> Path:
        """Where this worker keeps its last good state."""
        return self.home / "gateway" / self.worker

    @property
    def log_root(self) -> Path:
        return self.home / "log"


_WHOLE = {
    "LOCKGATE_GATEWAY_PORT": "port",
    "LOCKGATE_GATEWAY_FD": "socket_fd",
    "LOCKGATE_GATEWAY_GRPC_PORT": "grpc_port",
    "LOCKGATE_GATEWAY_GRPC_FD": "grpc_fd",
    "LOCKGATE_GATEWAY_MAX_BODY": "max_body",
    "LOCKGATE_GATEWAY_MAX_CONNECTIONS": "max_connections",
    "LOCKGATE_GATEWAY_MAX_INFLIGHT": "max_inflight",
    "LOCKGATE_GATEWAY_MAX_INFLIGHT_BYTES": "max_inflight_bytes",
    "LOCKGATE_GATEWAY_MAX_UNPACKED": "unpacked",
    "LOCKGATE_GATEWAY_TENANT_INFLIGHT": "tenant_inflight",
    "LOCKGATE_LOG_MAX_BYTES": "log_max_bytes",
}
_SECONDS = {
    "LOCKGATE_GATEWAY_WAIT_SECONDS": "longest_wait",
    "LOCKGATE_GATEWAY_TENANT_RATE": "tenant_rate",
    "LOCKGATE_GATEWAY_TENANT_BURST": "tenant_burst",
    "LOCKGATE_GATEWAY_CHECK_SECONDS": "check_seconds",
    "LOCKGATE_GATEWAY_HEADER_SECONDS": "header_seconds",
    "LOCKGATE_GATEWAY_BODY_SECONDS": "body_seconds",
    "LOCKGATE_GATEWAY_IDLE_SECONDS": "idle_seconds",
    "LOCKGATE_GATEWAY_WRITE_SECONDS": "write_seconds",
    "LOCKGATE_GATEWAY_START_SECONDS": "start_seconds",
    "LOCKGATE_GATEWAY_DRAIN_SECONDS": "drain_seconds",
    "LOCKGATE_GATEWAY_FINISH_SECONDS": "finish_seconds",
}
_WORDS = {"LOCKGATE_HOST": "host", "LOCKGATE_WORKER": "worker"}


def read_options(env: Mapping[str, str]) -> Options:
    """Read ``LOCKGATE_*``.

    Raises:
        BadSettings: with every problem at once.
    """
    problems: list[str] = []
    values: dict[str, object] = {field: env[name] for name, field in _WORDS.items() if env.get(name)}
    for name, field in _WHOLE.items():
        if env.get(name):
            values[field] = _number(name, env[name], int, problems)
    for name, field in _SECONDS.items():
        if env.get(name):
            values[field] = _number(name, env[name], float, problems)
    # A misspelt variable would be ignored without a word, and its default used.
    known = {*_WHOLE, *_SECONDS, "LOCKGATE_GATEWAY_TOKEN_FILE", *OWN_SETTINGS}
    unknown = [name for name in env if name.startswith("LOCKGATE_GATEWAY_") and name not in known]
    problems += [f"{name}: there is no such setting" for name in sorted(unknown)]
    port = int(str(values.get("port", 8401)))
    # A port that the system chooses has no next one.
    values.setdefault("grpc_port", (port + 1) % 65536 if port > 0 else 0)
    home = Path(env.get("LOCKGATE_HOME") or "lockgate-home").absolute()
    worker = str(values.get("worker", "0"))
    if not worker.replace("-", "").replace(".", "").isalnum() or worker.startswith("."):
        problems.append(f"LOCKGATE_WORKER={worker!r} is no plain name")
    values["telemetry"] = read_telemetry(env, problems)
    values["events"] = read_events(env, problems)
    if problems:
        raise BadSettings("the gateway's settings are not valid", problems=problems)
    defaults: dict[str, object] = {
        "home": home,
        "control_url": env.get("LOCKGATE_CONTROL_URL") or "http://127.0.0.1:8400",
        "token_file": Path(env.get("LOCKGATE_GATEWAY_TOKEN_FILE") or home / "secrets" / "gateway-token"),
    }
    return Options(**(defaults | values))  # pyright: ignore[reportArgumentType]


def _number(name: str, text: str, kind: type[int] | type[float], problems: list[str]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    # A comparison with NaN is false as well, so NaN and infinity are refused here.
    if not 0 <= value < 1 << 62:
        problems.append(f"{name}={text!r} is not a number from 0 on")
    return value
