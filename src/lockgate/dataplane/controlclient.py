"""A small HTTP client for the control plane: one request at a time, cancelled cleanly, no connection kept."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools

from lockgate.base.errors import BadSettings, Unavailable

#: No answer of the control plane is larger.
_MOST_BYTES = 256 << 20


class _Response:
    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class ControlClient:
    """Speaks to the control plane with the gateway's token."""

    def __init__(self, base: str, token_file: Path) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSettings(f"LOCKGATE_CONTROL_URL={base!r} is no http address")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._token_file = token_file

    async def get(self, path: str, *, timeout: float) -> tuple[int, bytes]:
        """Status and body; raises Unavailable when there is no whole answer in time."""
        return await self._ask("GET", path, b"", "", timeout)

    async def post(self, path: str, body: bytes, content_type: str, *, timeout: float) -> tuple[int, bytes]:
        """As `get`, with a body."""
        return await self._ask("POST", path, body, content_type, timeout)

    async def _ask(self, method: str, path: str, body: bytes, content_type: str, timeout: float) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(self._head(method, path, body, content_type) + body)
        except TimeoutError as error:
            raise Unavailable("the control plane does not answer in time") from error
        except (OSError, httptools.HttpParserError, EOFError) as error:
            raise Unavailable(f"the control plane cannot be reached: {error}") from error

    def _head(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        # Read anew each time: a token that was rotated is good at once.
        token = self._token_file.read_text().strip()
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [
            f"{method} {self._path}{path} HTTP/1.1",
            f"host: {host}:{self._port}",
            f"authorization: Bearer {token}",
            "accept: application/json",
            "connection: close",
        ]
        if method == "POST":
            lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            writer.write(request)
            await writer.drain()
            response = _Response()
            parser: Any = httptools.HttpResponseParser(response)
            while not response.complete:
                data = await reader.read(1 << 16)
                if not data:
                    raise EOFError("it hung up in the middle of an answer")
                parser.feed_data(data)
                if len(response.body) > _MOST_BYTES:
                    raise EOFError("its answer is too large")
            return parser.get_status_code(), bytes(response.body)
        finally:
            writer.close()
