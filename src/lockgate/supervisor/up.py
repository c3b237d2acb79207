"""Start a platform in a home, keep it, and stop it; see whether one runs, and stop it from elsewhere."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from lockgate.base.errors import Invalid, NotAllowedNow, Unavailable
from lockgate.supervisor.child import ChildSpec
from lockgate.supervisor.home import Home
from lockgate.supervisor.lifeline import end_strays
from lockgate.supervisor.lock import Running, hold, who_runs
from lockgate.supervisor.platform import Place, children
from lockgate.supervisor.ports import check_free
from lockgate.supervisor.supervise import Say, Supervisor

#: Longest path of a Unix socket that every kernel takes, in bytes.
_SOCKET_PATH = 100


def up(place: Place, *, began: float, tell: Say, say: Say, specs: Sequence[ChildSpec] | None = None) -> None:
    """Run a platform until SIGINT or SIGTERM; returns when all of it has stopped.

    Args:
        began: When the start was asked for, by `time.monotonic`.
        tell: Takes what people look for: addresses and, once, the first administrator's token.
        say: Takes what goes on meanwhile.
        specs: Other children than a platform's.

    Raises:
        Exists: one runs in this home.
        Unavailable: a port is taken, or a child could not be started.
        Invalid: host, port, number of workers or home cannot be used.
    """
    _check(place)
    home = place.home
    try:
        home.prepare()
    except OSError as error:
        raise Invalid(
            f"cannot use {home.root} as home: {error.strerror}", hint="choose a folder of your own with --home"
        ) from error
    with hold(home.lock, Running(pid=os.getpid(), url=place.url, gateway=place.gateway)):
        strays = end_strays(home.root)
        if strays:
            say(f"ended {strays} processes that an earlier lockgate had left behind")
        check_free(place.host, place.port, what="pages and API")
        check_free(place.host, place.port + 1, what="predictions")
        if place.grpc_port:
            check_free(place.host, place.grpc_port, what="predictions by gRPC")
        known = home.admin_token.exists()
        say(f"starting lockgate in {home.root}")

        def on_ready() -> None:
            tell(_where(place, new_token=not known))
            say(f"ready in {time.monotonic() - began:.1f} s")

        def on_late(name: str) -> None:
            say(f"{name} ready after {time.monotonic() - began:.1f} s")

        supervisor = Supervisor(
            children(place) if specs is None else specs, logs=home.logs, status=home.status, say=say
        )
        supervisor.run(on_ready=on_ready, on_late=on_late)
        say("stopped")


def down(home: Home, *, patience: float = 45.0) -> int:
    """Stop the platform of a home and wait until it is gone; gives the process that ran it.

    Raises:
        NotAllowedNow: none runs there.
        Unavailable: it was asked and did not stop within ``patience`` seconds.
    """
    running = who_runs(home.lock)
    if running is None:
        raise NotAllowedNow(f"lockgate does not run in {home.root}", hint="another home is named with --home")
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if who_runs(home.lock) is None:
            return running.pid
        time.sleep(0.1)
    raise Unavailable(f"process {running.pid} was asked to stop and has not", hint=f"look into {home.logs}")


def status(home: Home) -> tuple[Running, list[dict[str, Any]]] | None:
    """Who runs a home and how each child is: name, pid, state, restarts, since, log. None when nobody does."""
    running = who_runs(home.lock)
    if running is None:
        return None
    try:
        return running, json.loads(home.status.read_text(encoding="utf-8"))
    except FileNotFoundError:  # it has only just begun
        return running, []


def _check(place: Place) -> None:
    if not 1 <= place.port <= 65533:
        raise Invalid(f"{place.port} is not a port", hint="--port takes 1 to 65533; the next two are used too")
    if not 0 <= place.grpc_port <= 65535 or place.grpc_port in (place.port, place.port + 1):
        raise Invalid(f"{place.grpc_port} is not a port for gRPC", hint="--grpc-port takes a free one, or 0 for none")
    if not 1 <= place.workers <= 256:
        raise Invalid(f"{place.workers} gateways cannot be started", hint="--workers takes 1 to 256")
    if len(os.fsencode(place.home.mlflow_socket)) > _SOCKET_PATH:
        raise Invalid(
            f"the path of the home is too long for a socket in it: {place.home.root}", hint="choose a shorter --home"
        )


def _where(place: Place, *, new_token: bool) -> str:
    home = place.home
    lines = [
        f"  web       {place.url}/",
        f"  API       {place.url}/api/v1",
        f"  MLflow    {place.url}/mlflow",
        f"  gateway   {place.gateway}",
        *([f"  gRPC      {place.grpc}"] if place.grpc else []),
        f"  logs      {home.logs}",
    ]
    if new_token and home.admin_token.exists():
        token = home.admin_token.read_text(encoding="utf-8").strip()
        lines += [
            "",
            f"  The first administrator's token, shown this once:  {token}",
            f"  The command line finds it in {home.admin_token}",
        ]
    return "\n".join(["", *lines, ""])
