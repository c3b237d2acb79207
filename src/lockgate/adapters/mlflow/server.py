"""A stock MLflow server behind a UNIX socket, in one process.

``python -m lockgate.adapters.mlflow.server --socket S --home DIR`` serves MLflow's own application, unchanged, for our
authenticated proxy alone: never on TCP, no job runners, no telemetry, artifacts under the home through MLflow's own
artifact service. It logs to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import stat
import sys
import warnings
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from lockgate.base.errors import BadSettings

#: The Host our proxy writes into each request; MLflow's own host check lets nothing else in.
HOST = "lockgate-mlflow"

_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"uvicorn": {"level": "INFO"}},
}


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="lockgate.adapters.mlflow.server", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="UNIX socket to listen on; its folder becomes 0700")
    parser.add_argument("--home", type=Path, required=True, help="folder of MLflow's database and artifacts")
    options = parser.parse_args(arguments)
    serve(options.socket, options.home)


def serve(path: Path, home: Path) -> None:
    """Prepare both folders, start MLflow's stores and answer on the socket at `path` until told to stop.

    Raises:
        BadSettings: the socket cannot be made there.
    """
    # uvicorn drains on a signal and raises it again when it is done; this turns that into a clean exit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    os.umask(0o077)
    _private_folder(home)
    _private_folder(path.parent)
    _clear_stale(path)
    database = f"sqlite:///{(home / 'mlflow.db').absolute()}"
    artifacts = home / "artifacts"
    artifacts.mkdir(exist_ok=True)
    os.environ.update(_environment(database, artifacts))
    # MLflow reads its environment while it is imported, so both imports wait until here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its bridge to Flask is deprecated, and its own affair
        import uvicorn
        from mlflow.server.fastapi_app import app
        from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(database, database, "mlflow-artifacts:/")
    config = uvicorn.Config(
        app,
        loop="asyncio",
        access_log=False,
        log_level="info",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        log_config=_LOGGING,
    )
    # Bound here and not by uvicorn, which would open the socket to every user of the machine.
    with closing(_listen(path)) as listener:
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            path.unlink(missing_ok=True)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise BadSettings(
            f"cannot listen on the socket {path}: {error}",
            hint="a socket's path has at most about 100 characters: choose a shorter home",
        ) from error
    return listener


def _environment(database: str, artifacts: Path) -> dict[str, str]:
    return {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts.absolute()),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": HOST,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def _clear_stale(path: Path) -> None:
    # Left by a process that died. Anything but a socket is somebody's file, and binding will refuse it.
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


if __name__ == "__main__":
    main()
