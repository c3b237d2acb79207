"""What every request passes before it reaches a route: names, limits, headers, and the last net for errors."""

from __future__ import annotations

import contextvars
import re
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lockgate.base.errors import TooLarge
from lockgate.controlplane.api.errors import problem, problem_of, unexpected

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

#: The id of the request under way, for logs and for the ledger.
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

_ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
#: An API's answer is data: nothing in it may run, and nobody's cache may keep it.
_API = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


class Edge:
    """Checks the Host, names the request, adds headers, and turns what nobody caught into a problem."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], api: str = "/api/") -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        offered = headers.get("x-request-id", "")
        name = offered if _REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
        reset = request_id.set(name)
        extra = {**_ALWAYS, "x-request-id": name, **(_API if scope["path"].startswith(self._api) else {})}
        sending = _Sending(send, extra)
        try:
            if self._known(headers.get("host", "")):
                await self._app(scope, receive, sending)
            else:
                refusal = problem(
                    421, "wrong_host", "this server does not go by that name", hint="LOCKGATE_ALLOWED_HOSTS lists names"
                )
                await refusal(scope, receive, sending)
        except Exception as error:
            # The last net: whatever slipped through is logged under a number, and never shown.
            if sending.started:
                raise
            await unexpected(error)(scope, receive, sending)
        finally:
            request_id.reset(reset)

    def _known(self, host: str) -> bool:
        try:
            return urlsplit(f"//{host}").hostname in self._hosts
        except ValueError:
            return False


class _Sending:
    """Passes a response on with headers of ours, where it does not bring its own."""

    def __init__(self, send: Send, extra: Mapping[str, str]) -> None:
        self._send = send
        self._extra = extra
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._extra.items():
                headers.setdefault(name, value)
        await self._send(message)


class BodyLimit:
    """Stops reading a body that is larger than its path allows."""

    def __init__(self, app: ASGIApp, *, limit: int, larger: Mapping[str, int | None]) -> None:
        """
        Args:
            limit: bytes for any path but those in `larger`.
            larger: bytes by path or by the folder it lies in; None where the application counts for itself.
        """
        self._app = app
        self._limit = limit
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._of(scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self._app(scope, receive, send)
            return
        too_large = TooLarge(f"the body is larger than {limit} bytes")
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > limit:
            await problem_of(too_large)(scope, receive, send)
            return
        count = 0

        async def counting() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > limit:
                raise too_large
            return message

        await self._app(scope, counting, send)

    def _of(self, path: str) -> int | None:
        for place, limit in self._larger.items():
            if path == place or path.startswith(f"{place}/"):
                return limit
        return self._limit
