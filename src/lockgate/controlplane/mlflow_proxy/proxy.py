"""The reverse proxy in front of the tracking server. Nothing gets to MLflow but what is let through here."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from lockgate.base.errors import Forbidden, Invalid, LockgateError, TooLarge, Unauthenticated, Unavailable
from lockgate.controlplane.callers import Callers
from lockgate.controlplane.mlflow_proxy.bodies import LARGEST, only_query, understand
from lockgate.controlplane.mlflow_proxy.paths import CleanPath, clean
from lockgate.controlplane.mlflow_proxy.table import Care, find
from lockgate.controlplane.pages import refusal
from lockgate.domain.access.records import Caller
from lockgate.edge_ports import Judgement, RegistryChange, RegistryGuard
from lockgate.ports import Authorizer

_log = logging.getLogger(__name__)

#: The Host that the tracking server answers to.
HOST = "lockgate-mlflow"
#: Headers of a request that MLflow has a use for. Credentials, cookies and proxies' headers are not among them.
_TO_MLFLOW = (
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "user-agent",
    "x-mlflow-experiment-id",
)
#: Headers of an answer that are MLflow's to give. Its cookies and its opinions on foreign origins are not.
_FROM_MLFLOW = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "x-frame-options",
)
#: A file somebody logged may be a page: opened in a browser, it can neither run nor reach anything of ours.
_INERT = {"content-security-policy": "sandbox; default-src 'none'", "x-content-type-options": "nosniff"}
#: MLflow's pages load what they need from us, and tell nobody else what is looked at.
_PAGE = {"content-security-policy": "connect-src 'self' blob: data:; object-src 'none'; base-uri 'self'"}

#: Our error codes as MLflow's, so that stock clients stop, or try again, and show the text.
_CODES: Mapping[str, tuple[int, str]] = {
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "forbidden": (403, "PERMISSION_DENIED"),
    "gate_refused": (403, "PERMISSION_DENIED"),
    "conflict": (409, "RESOURCE_CONFLICT"),
    "invalid": (400, "INVALID_PARAMETER_VALUE"),
    "too_large": (413, "INVALID_PARAMETER_VALUE"),
    "unavailable": (503, "TEMPORARILY_UNAVAILABLE"),
}
_TIMEOUTS = httpx.Timeout(300, connect=5, pool=30)
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class _Refused(LockgateError):
    """The platform does not let this change of the registry happen"""

    def __init__(self, judged: Judgement) -> None:
        super().__init__(judged.sentence, hint=judged.hint)
        self.code = judged.code


class MlflowProxy:
    """An ASGI application to be mounted at ``/mlflow``. Close it when the server stops."""

    def __init__(
        self, *, socket: Path, callers: Callers, authorizer: Authorizer, guard: RegistryGuard, largest: int
    ) -> None:
        """
        Args:
            socket: where the tracking server listens.
            largest: bytes that one request may bring.
        """
        self._callers = callers
        self._authorizer = authorizer
        self._guard = guard
        self._largest = largest
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_keepalive_connections=16)),
            base_url=f"http://{HOST}",
            timeout=_TIMEOUTS,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let go of the connections to the tracking server."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except LockgateError as error:
            response = _refuse(error, request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # Who is asking comes first: a stranger learns nothing about the paths.
        caller = await self._callers.find(request.method, request.headers)
        path = clean(_own_path(request.scope))
        opened = find(request.method, path.name)
        if opened is None:
            raise Forbidden(
                f"{request.method} {path.name[:200]} is not open here",
                hint="only what tracking, registry and artifacts need is",
            )
        if not self._authorizer.allows(caller, opened.action):
            raise Forbidden(f"{caller.principal} may not {opened.action.value}")
        match opened.care:
            case Care.CHECK:
                fields, change = understand(request.method, path.name, await self._small_body(request))
                if change is not None:
                    await self._ask_guard(change, caller)
                return await self._forward(request, path, written=fields)
            case Care.GRAPHQL:
                return await self._forward(request, path, written=only_query(await self._small_body(request)))
            case Care.FILE:
                return await self._forward(request, path, extra=_INERT)
            case Care.PASS:
                sound = await _sound_json(request)
                return await self._forward(request, path, sound=sound, extra=_PAGE if path.name == "" else None)

    async def _ask_guard(self, change: RegistryChange, caller: Caller) -> None:
        judged = await run_in_threadpool(self._guard.judge, change, caller)
        if not judged.allowed:
            _log.info("refused %s of %s to %s: %s", change.verb, change.name, caller.principal, judged.sentence)
            raise _Refused(judged)

    async def _small_body(self, request: Request) -> bytes:
        return b"".join([chunk async for chunk in _counted(request, LARGEST)])

    async def _forward(
        self,
        request: Request,
        path: CleanPath,
        *,
        written: Mapping[str, Any] | None = None,
        sound: bytes | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Response:
        headers = {name: value for name in _TO_MLFLOW if (value := request.headers.get(name)) is not None}
        # A checked body is all there is to say: MLflow must not find anything else in the address.
        query = request.scope["query_string"] if written is None else b""
        content: bytes | AsyncIterator[bytes] | None = None
        if written is not None:
            content = json.dumps(written).encode()
            headers.pop("content-length", None)
            headers["content-type"] = "application/json"
        elif request.method not in _METHODS_WITHOUT_BODY:
            if int(headers.get("content-length", "0")) > self._largest:
                raise TooLarge(f"the body is larger than {self._largest} bytes")
            content = sound if sound is not None else _counted(request, self._largest)
        else:
            headers.pop("content-length", None)
        url = httpx.URL(self._client.base_url, raw_path=path.target.encode() + (b"?" + query if query else b""))
        outgoing = self._client.build_request(request.method, url, headers=headers, content=content)
        try:
            incoming = await self._client.send(outgoing, stream=True)
        except httpx.TransportError as error:
            raise Unavailable("the tracking server does not answer", hint="it may be starting: try again") from error
        return StreamingResponse(
            incoming.aiter_raw(),
            incoming.status_code,
            {name: value for name in _FROM_MLFLOW if (value := incoming.headers.get(name)) is not None}
            | dict(extra or {}),
            background=BackgroundTask(incoming.aclose),
        )


async def _sound_json(request: Request) -> bytes | None:
    """The body of a call, when it says it is JSON, and is; None for any other, and for one too long to be looked at.

    MLflow takes JSON that it cannot read for no fields at all, and tells of whatever comes of that. What is PUT are
    files, which may hold anything.
    """
    headers = request.headers
    said = headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "POST" or said != "application/json" or "content-encoding" in headers:
        return None
    if not 0 < int(headers.get("content-length", "0")) <= LARGEST:
        return None
    body = b"".join([chunk async for chunk in _counted(request, LARGEST)])
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not valid JSON: {error}", hint="send a JSON object") from error
    return body


async def _counted(request: Request, largest: int) -> AsyncIterator[bytes]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > largest:
            raise TooLarge(f"the body is larger than {largest} bytes")
        yield chunk


def _own_path(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(str(scope.get("root_path", "")))


def _refuse(error: LockgateError, request: Request) -> Response:
    if isinstance(error, Unauthenticated) and "text/html" in request.headers.get("accept", ""):
        return refusal(error, request.scope, request.headers)
    status, code = _CODES.get(error.code, (500, "INTERNAL_ERROR"))
    message = f"{error.message}\nhint: {error.hint}" if error.hint else error.message
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error_code": code, "message": message}, status, headers)
