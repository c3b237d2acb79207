"""What can be set from outside, read once from LOCKGATE_* variables, every problem told together."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from lockgate.base.errors import BadSettings, Invalid
from lockgate.domain.jobs.kinds import KINDS

T = TypeVar("T")

_PREFIX = "LOCKGATE_"
#: What the command line and the SDK read to find their platform; no affair of a server's.
_OF_CLIENTS = frozenset({"LOCKGATE_URL", "LOCKGATE_TOKEN"})
#: What the gateways are set up by; they look at these themselves, and at no other process's.
_OF_GATEWAYS = ("LOCKGATE_GATEWAY_", "LOCKGATE_TRACES_", "LOCKGATE_EVENTS_", "LOCKGATE_LOG_MAX_BYTES")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg")


class Secret(str):
    """Text that does not show itself in a log or a traceback; ``str(secret)`` is still the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How this installation is set up. One field is one variable: ``home`` is LOCKGATE_HOME."""

    #: Folder of everything the platform keeps.
    home: Path
    #: Where records are kept; its password is masked when shown.
    database_url: Secret
    #: Address the control plane and the gateways listen on.
    host: str
    #: Port of the control plane.
    port: int
    #: Port of the inference gateways.
    gateway_port: int
    #: Port on which the gateways speak gRPC; 0 where they do not.
    gateway_grpc_port: int
    #: How many gateway processes run; 0 means one per core.
    workers: int
    #: Which of them this process is, counted from 0.
    worker: int
    #: UNIX socket of the tracking server.
    mlflow_socket: Path
    #: Where gateways and job workers find the control plane.
    control_url: str
    #: File with the token that gateways show to the control plane.
    gateway_token_file: Path
    #: Address people reach the platform by, when it is not host and port: behind a proxy that ends TLS, for instance.
    public_url: str
    #: Names a request may give as its Host, without port.
    allowed_hosts: tuple[str, ...]
    #: Largest body of an API request, in bytes.
    max_body: int
    #: Largest data set or artifact that may be uploaded, in bytes.
    max_upload: int
    #: Memory one job may use, in bytes of address space.
    job_memory: int
    #: Seconds one attempt of a job may take.
    job_seconds: int
    #: Queues that this machine's job worker serves; none named means all.
    job_queues: tuple[str, ...]
    #: Least severe message that is logged.
    log_level: str
    #: Hosts that models may be answered by elsewhere (``lane: upstream``), without port; none named means any.
    upstream_hosts: tuple[str, ...] = ()
    #: File of OSV records of vulnerable Python packages, which the requirements of models are held against.
    advisories: Path | None = None

    @property
    def run(self) -> Path:
        """Sockets, process ids and the lock file; 0700."""
        return self.home / "run"

    @property
    def secrets(self) -> Path:
        """Keys and tokens; every file 0600."""
        return self.home / "secrets"

    @property
    def secure(self) -> bool:
        """Whether people come by TLS, so that cookies may be kept to it."""
        return self.public_url.startswith("https://")


def load(env: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        BadSettings: with every problem there is, each naming its variable.
    """
    read = _Reader(env)
    home = read("HOME", _path, Path("~/.lockgate").expanduser())
    host = read("HOST", _host, "127.0.0.1")
    port = read("PORT", _port, 8400)
    gateway_port = read("GATEWAY_PORT", _port, min(port + 1, 65535))
    if port == gateway_port:
        read.problems.append("LOCKGATE_GATEWAY_PORT: the gateways need a port of their own")
    grpc_port = read("GATEWAY_GRPC_PORT", _port_or_none, (gateway_port + 1) % 65536)
    if grpc_port in (port, gateway_port):
        read.problems.append("LOCKGATE_GATEWAY_GRPC_PORT: gRPC needs a port of its own")
    reachable = _reachable(host)
    public_url = read("PUBLIC_URL", _url, f"http://{reachable}:{port}")
    settings = Settings(
        home=home,
        database_url=read("DATABASE_URL", _database, Secret(f"sqlite:///{home / 'lockgate.db'}")),
        host=host,
        port=port,
        gateway_port=gateway_port,
        gateway_grpc_port=grpc_port,
        workers=read("WORKERS", _count, 0),
        worker=read("WORKER", _count, 0),
        mlflow_socket=read("MLFLOW_SOCKET", _path, home / "run" / "mlflow.sock"),
        control_url=read("CONTROL_URL", _url, f"http://{reachable}:{port}"),
        gateway_token_file=read("GATEWAY_TOKEN_FILE", _path, home / "secrets" / "gateway-token"),
        public_url=public_url,
        allowed_hosts=read("ALLOWED_HOSTS", _hosts, _own_names(host, public_url)),
        max_body=read("MAX_BODY", _size, 8 * 2**20),
        max_upload=read("MAX_UPLOAD", _size, 4 * 2**30),
        job_memory=read("JOB_MEMORY", _size, 8 * 2**30),
        job_seconds=read("JOB_SECONDS", _count, 1800),
        job_queues=read("JOB_QUEUES", _queues, ()),
        log_level=read("LOG_LEVEL", _level, "info"),
        upstream_hosts=read("UPSTREAM_HOSTS", _hosts, ()),
        advisories=read("ADVISORIES", _file, None),
    )
    # A misspelt variable would be ignored without a word, and its default used.
    unknown = {name for name in env if name.startswith(_PREFIX)} - read.asked - _OF_CLIENTS
    unknown = {name for name in unknown if not name.startswith(_OF_GATEWAYS)}
    read.problems += [f"{name}: there is no such setting" for name in sorted(unknown)]
    if read.problems:
        raise BadSettings(
            "the settings are not valid",
            problems=read.problems,
            hint="docs/reference/settings.md lists what can be set",
        )
    return settings


class _Reader:
    """Reads one variable after the other and remembers what was wrong."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []
        self.asked: set[str] = set()

    def __call__(self, name: str, parse: Callable[[str], T], default: T) -> T:
        self.asked.add(_PREFIX + name)
        text = self._env.get(_PREFIX + name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except Invalid as error:
            self.problems.append(f"{_PREFIX}{name}: {error.message}")
            return default


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _file(text: str) -> Path | None:
    return _path(text)


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        if _HOST.fullmatch(text):
            return text.lower()
        raise Invalid(f"{text!r} is no address or host name") from None


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(_host(name.strip()) for name in text.split(",") if name.strip())


def _queues(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = sorted({kind.queue for kind in KINDS.values()})
    for name in names:
        if name not in known:
            raise Invalid(f"there is no queue {name[:100]!r}: choose from {', '.join(known)}")
    return names


def _port(text: str) -> int:
    number = _count(text)
    if not 1 <= number <= 65535:
        raise Invalid(f"{text} is no port: choose 1 to 65535")
    return number


def _port_or_none(text: str) -> int:
    return 0 if text == "0" else _port(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Invalid(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9}) ?(B|KB|MB|GB)?", text, re.IGNORECASE)
    if not found or int(found[1]) == 0:
        raise Invalid(f"{text!r} is no size: write it like 8MB")
    return int(found[1]) * 1024 ** ("B", "KB", "MB", "GB").index((found[2] or "B").upper())


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"{text!r} is no http or https address")
    return text.rstrip("/")


def _database(text: str) -> Secret:
    if urlsplit(text).scheme not in _DATABASES:
        # The address may hold a password, so it is not repeated.
        raise Invalid(f"a database address starts with one of {', '.join(_DATABASES)}")
    return Secret(text)


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise Invalid(f"{text!r} is none of debug, info, warning, error")
    return text.lower()


def _reachable(host: str) -> str:
    """The host to write into an address: one that can be called, IPv6 in brackets."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised here, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _own_names(host: str, public_url: str) -> tuple[str, ...]:
    public = urlsplit(public_url).hostname or ""
    return tuple(dict.fromkeys(name for name in (public, host, "localhost", "127.0.0.1", "::1") if name))
