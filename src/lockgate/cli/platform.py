"""Run the platform here: up, down, status, demo; or one more of its parts: control, work."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from lockgate.base.errors import NotAllowedNow
from lockgate.cli.asking import AsJson
from lockgate.cli.console import give, give_fields, give_json, give_table, say
from lockgate.supervisor.home import Home, default_home

Place = Annotated[
    Path | None, typer.Option("--home", help="Folder of everything it keeps; LOCKGATE_HOME, or ~/.lockgate.")
]

Host = Annotated[
    str, typer.Option(envvar="LOCKGATE_HOST", help="Address to listen on; 0.0.0.0 lets other machines in.")
]
Port = Annotated[int, typer.Option(envvar="LOCKGATE_PORT", help="Port of pages and API; predictions use the next two.")]


def _home(named: Path | None) -> Home:
    return Home(root=(named or default_home(os.environ)).expanduser().absolute())


def up(
    home: Place = None,
    host: Host = "127.0.0.1",
    port: Port = 8400,
    workers: Annotated[int, typer.Option(envvar="LOCKGATE_WORKERS", help="Inference gateways; one a core when 0.")] = 0,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port of predictions by gRPC; the one after that of HTTP, none when 0.")
    ] = None,
) -> None:
    """Start the platform and keep it running until Ctrl-C."""
    from lockgate.supervisor.platform import Place as Where
    from lockgate.supervisor.up import up as run

    began = time.monotonic()
    gateways = workers or len(os.sched_getaffinity(0))
    balancer = os.environ.get("LOCKGATE_CONTROL_URL", "")
    where = Where(
        home=_home(home),
        host=host,
        port=port,
        workers=gateways,
        asked_grpc_port=grpc_port,
        asked_control_url=balancer,
    )
    run(where, began=began, tell=give, say=say)


def down(home: Place = None) -> None:
    """Stop the platform that runs in a home, and wait until it has."""
    from lockgate.supervisor.up import down as stop

    pid = stop(_home(home))
    say(f"process {pid} has stopped")


def status(home: Place = None, as_json: AsJson = False) -> None:
    """Show whether a platform runs in a home, and how each of its processes is."""
    from lockgate.supervisor.up import status as look

    place = _home(home)
    found = look(place)
    if as_json:
        running, children = found or (None, [])
        give_json({"home": str(place.root), "running": _plain(running), "children": children})
    if found is None:
        if as_json:
            raise typer.Exit(1)
        raise NotAllowedNow(f"lockgate does not run in {place.root}", hint="start it with `lockgate up`")
    if as_json:
        return
    running, children = found
    give_fields([("home", place.root), ("process", running.pid), ("web", running.url), ("gateway", running.gateway)])
    print()
    rows = [
        (child["name"], child["state"], child["pid"], child["restarts"], _age(child["since"])) for child in children
    ]
    give_table(("process", "state", "pid", "restarts", "up"), rows, empty="it is just being started")


def control(
    home: Place = None,
    host: Host = "127.0.0.1",
    port: Port = 8400,
) -> None:
    """Run one more control plane, here, on the PostgreSQL that others use; until Ctrl-C."""
    if urlsplit(os.environ.get("LOCKGATE_DATABASE_URL", "")).scheme not in ("postgresql", "postgresql+psycopg"):
        raise NotAllowedNow(
            "several control planes need a PostgreSQL that they share",
            hint="set LOCKGATE_DATABASE_URL; on SQLite `lockgate up` runs the only one",
        )
    _become("lockgate.controlplane.main", _home(home), LOCKGATE_HOST=host, LOCKGATE_PORT=str(port))


def work(
    home: Place = None,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Serve only this queue; may be repeated.")] = None,
) -> None:
    """Run one more job worker, here, until Ctrl-C; a job under way is given back then."""
    more = {"LOCKGATE_JOB_QUEUES": ",".join(queue)} if queue else {}
    _become("lockgate.jobworker.main", _home(home), "job-worker", **more)


def _become(module: str, home: Home, *words: str, **settings: str) -> None:
    """Be that program from now on: whoever watches this process watches it."""
    home.prepare()
    env = {**os.environ, "LOCKGATE_HOME": str(home.root), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **settings}
    os.execve(sys.executable, (sys.executable, "-m", module, *words), env)  # noqa: S606 - our own program


def demo(
    home: Annotated[Path | None, typer.Option("--home", help="Folder for it; a fresh one that is removed.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Leave the platform running to look around.")] = False,
) -> None:
    """Tell the whole story on real data, in under two minutes: promotion, canary, drift, rollback."""
    # Named as text: the story trains models, and its imports would slow every other command.
    run = import_module("lockgate.demo.story").run
    raise typer.Exit(run(home=home, stay=stay))


def _plain(running: object) -> dict[str, object] | None:
    from dataclasses import asdict, is_dataclass

    return asdict(running) if is_dataclass(running) and not isinstance(running, type) else None


def _age(since: float | None) -> str:
    if since is None:
        return "—"
    seconds = int(time.time() - since)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
