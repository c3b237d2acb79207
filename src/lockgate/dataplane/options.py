"""What a gateway is told by its environment, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.base.errors import BadSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The settings of one gateway worker."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8401
    #: A listening socket the supervisor keeps open across restarts, so that no connection waiting in it is lost.
    socket_fd: int | None = None
    #: Base address of the control plane, and the file with the token for it.
    control_url: str
    token_file: Path
    #: Which of the gateways this is; names its folder and its profiles.
    worker: str = "0"
    #: Largest body in bytes.
    max_body: int = 16 << 20
    max_connections: int = 4096
    #: Requests, and bytes of their bodies, that may be under way at once; more is shed.
    max_inflight: int = 1024
    max_inflight_bytes: int = 256 << 20
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
    def folder(self) -> Path:
        """Where this worker keeps its last good state."""
        return self.home / "gateway" / self.worker

    @property
    def log_root(self) -> Path:
        return self.home / "log"


_WHOLE = {
    "LOCKGATE_GATEWAY_PORT": "port",
    "LOCKGATE_GATEWAY_FD": "socket_fd",
    "LOCKGATE_GATEWAY_MAX_BODY": "max_body",
    "LOCKGATE_GATEWAY_MAX_CONNECTIONS": "max_connections",
    "LOCKGATE_GATEWAY_MAX_INFLIGHT": "max_inflight",
    "LOCKGATE_GATEWAY_MAX_INFLIGHT_BYTES": "max_inflight_bytes",
}
_SECONDS = {
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
    home = Path(env.get("LOCKGATE_HOME") or "lockgate-home").absolute()
    worker = str(values.get("worker", "0"))
    if not worker.replace("-", "").replace(".", "").isalnum() or worker.startswith("."):
        problems.append(f"LOCKGATE_WORKER={worker!r} is no plain name")
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
