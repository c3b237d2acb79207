"""Raw HTTP/1.1, for tests that send what no client library would."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass

from tests.serving import TOKEN


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(path: str, body: bytes, *headers: str, method: str = "POST", length: bool = True) -> bytes:
    """A request with its token; further header lines as they are, and Content-Length unless told not to."""
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {TOKEN}", *headers]
    lines += [f"content-length: {len(body)}"] if length else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Line:
    """One connection."""

    def __init__(self, port: int, *, timeout: float = 20.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._read = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send bytes; raises OSError when nobody takes them."""
        self._socket.sendall(data)

    def answer(self) -> Reply | None:
        """The next answer, or None when the connection ends without one."""
        try:
            first = self._read.readline()
            fields: dict[str, str] = {}
            while (line := self._read.readline()).strip():
                name, _, value = line.decode("latin-1").partition(":")
                fields[name.lower()] = value.strip()
            body = self._read.read(int(fields.get("content-length", "0")))
        except ConnectionError:
            return None
        return Reply(int(first.split()[1]), fields, body) if first.startswith(b"HTTP/1.1 ") else None

    def ask(self, data: bytes) -> Reply | None:
        """Send, and read the answer."""
        self.send(data)
        return self.answer()

    def end(self) -> None:
        """Say that no more is sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._read.close()
        self._socket.close()
