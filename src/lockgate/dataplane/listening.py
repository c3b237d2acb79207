"""A listening socket: the worker's own among others on the same port, or one that the supervisor keeps for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from lockgate.dataplane.journal import say

_BACKLOG = 2048
#: Before the next try to take a connection when there is no descriptor left for one.
_ACCEPT_PAUSE = 0.2


class Listener:
    """Takes connections and gives each a protocol."""

    def __init__(self, host: str, port: int, socket_fd: int | None, make: Callable[[], asyncio.Protocol]) -> None:
        #: Whether the socket outlives this worker, so that whoever waits there is answered by the next.
        self.kept = socket_fd is not None
        self._address = (host, port)
        self._fd = socket_fd
        self._make = make
        self._socket: socket.socket | None = None
        #: Connections that were taken and have no protocol yet.
        self.accepting: set[asyncio.Task[Any]] = set()

    def open(self) -> tuple[str, int]:
        """Begin to take connections; gives host and port. Raises OSError."""
        host, port = self._address
        if self._fd is not None:
            listener = socket.socket(fileno=self._fd)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)
        return listener.getsockname()[:2]

    def close(self) -> None:
        """Take no more connections."""
        listener = self._socket
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener)
        if not self.kept:
            # Whoever waits in our queue would be reset with it. A socket of the supervisor's keeps them for the next.
            self._accept()
        self._socket = None
        listener.close()

    def _accept(self) -> None:
        """Take every connection that waits."""
        listener = self._socket
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors: those that wait keep waiting until one is free. The socket stays readable all
                # the while, so it is not looked at for a moment, or the loop would do nothing else.
                say("a connection cannot be taken", error=str(error))
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(_ACCEPT_PAUSE, self._accept_again, listener)
                return
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.get_running_loop().create_task(self._connect(connection))
            self.accepting.add(task)
            task.add_done_callback(self.accepting.discard)

    def _accept_again(self, listener: socket.socket) -> None:
        if self._socket is listener:
            asyncio.get_running_loop().add_reader(listener, self._accept)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, connection)
        except OSError:
            connection.close()
