"""Whether the ports are free, told before anything is started."""

from __future__ import annotations

import errno
import socket

from lockgate.base.errors import Invalid, Unavailable

#: Connections that may wait to be taken.
_BACKLOG = 2048


def check_free(host: str, port: int, *, what: str) -> None:
    """Refuse a port that somebody listens on.

    Raises:
        Unavailable: the port is taken, or may not be used.
        Invalid: the host is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise Invalid(f"{host!r} is not an address", hint="--host 127.0.0.1 keeps it on this machine") from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections that are still closing are no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise _refusal(error, host, port, what) from error


def listener(host: str, port: int) -> socket.socket:
    """A listening socket beside others on the same port; the kernel shares new connections out among them.

    Raises:
        Unavailable: the port is taken by somebody who does not share it.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _refusal(error, host, port, "predictions") from error
    return made


def _refusal(error: OSError, host: str, port: int, what: str) -> Unavailable | Invalid:
    if error.errno == errno.EADDRINUSE:
        return Unavailable(
            f"port {port} on {host}, meant for {what}, is taken by another program",
            hint="choose free ports that follow each other, for example --port 8500 (8500 to 8502)",
        )
    if error.errno == errno.EACCES:
        return Unavailable(f"port {port}, meant for {what}, needs more rights", hint="choose a --port above 1024")
    return Invalid(f"cannot listen on {host}: {error.strerror}", hint="--host 127.0.0.1 keeps it on this machine")
