"""Where the platform is and who we are to it, when nobody says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lockgate.base.errors import Invalid, Unauthenticated, Unavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """An address, the address of its gateways, and a token."""

    url: str
    gateway: str
    token: str


def find_access(
    env: Mapping[str, str], *, url: str = "", token: str = "", gateway: str = "", home: Path | None = None
) -> Access:
    """What was said, then ``LOCKGATE_URL`` and ``LOCKGATE_TOKEN``, then the last `lockgate login`, then the platform
    that runs in the home on this machine.

    Raises:
        Unavailable: no address is known.
        Unauthenticated: no token is known for it.
    """
    found = _kept(signed_in(env)) or _running(home or home_of(env))
    if home is not None:
        found = _running(home) or found
    address = (url or env.get("LOCKGATE_URL", "") or (found.url if found else "")).rstrip("/")
    if not address:
        raise Unavailable(
            "no lockgate is known here",
            hint="start one with `lockgate up`, or sign in to one with `lockgate login URL`",
        )
    known = found if found and found.url == address else None
    secret = token or env.get("LOCKGATE_TOKEN", "") or (known.token if known else "")
    if not secret:
        raise Unauthenticated(f"no token is known for {address}", hint=f"sign in with `lockgate login {address}`")
    return Access(url=address, gateway=gateway or (known.gateway if known else gateway_of(address)), token=secret)


def sign_in(env: Mapping[str, str], access: Access) -> Path:
    """Keep an address and a token for the next time, readable by nobody else; gives the file."""
    path = signed_in(env)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(access), file)
    beside.replace(path)
    return path


def signed_in(env: Mapping[str, str]) -> Path:
    """The file that `sign_in` writes."""
    base = env.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base else Path(env.get("HOME", "~")).expanduser() / ".config") / "lockgate" / "login.json"


def home_of(env: Mapping[str, str]) -> Path:
    """The home that is meant when nobody names one."""
    named = env.get("LOCKGATE_HOME", "")
    return Path(named) if named else Path(env.get("HOME", "~")).expanduser() / ".lockgate"


def gateway_of(url: str) -> str:
    """Where predictions are asked for by habit: the next port.

    Raises:
        Invalid: this is no http address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"{url!r} is no http or https address", hint="write it like http://127.0.0.1:8400")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.port is None:  # behind a proxy, which knows the way
        return url
    return urlunsplit((parts.scheme, f"{host}:{parts.port + 1}", "", "", ""))


def _kept(path: Path) -> Access | None:
    try:
        return Access(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _running(home: Path) -> Access | None:
    # Written by `lockgate up`. That it may be old does not matter: then nothing answers there, and that is said.
    try:
        running = json.loads((home / "run" / "lock").read_text(encoding="utf-8"))
        token = (home / "secrets" / "admin-token").read_text(encoding="utf-8").strip()
        return Access(url=running["url"], gateway=running["gateway"], token=token)
    except (OSError, ValueError, KeyError):
        return None
