"""How to see that a child is ready. Each check is quick and says False rather than raise."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path

Check = Callable[[], bool]

#: Seconds a check may take; they are asked again and again.
_PATIENCE = 1.0


def answers(host: str, port: int, path: str) -> Check:
    """Ready when a GET of ``path`` is answered with 200."""

    def check() -> bool:
        connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def listens(path: Path, probe: str) -> Check:
    """Ready when a GET of ``probe`` is answered on a Unix socket."""

    def check() -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(str(path))
                connection.sendall(f"GET {probe} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in connection.recv(64)
        except OSError:
            return False

    return check


def says(path: Path) -> Check:
    """Ready when the child has written this file; the supervisor removes it before it starts the child."""
    return path.exists
