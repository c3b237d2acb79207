"""Puts the pages under the control plane's application, in the place where no route of its own is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lockgate.controlplane.web import places
from lockgate.controlplane.web.rest import PASSED_ON, asking

#: What the sign-in page needs and anybody may see.
ANONYMOUS = ("/sign-in/",)
SIGN_IN = Path(__file__).parent / "sign_in"

_FILES = {
    "/sign-in": ("index.html", "text/html; charset=utf-8"),
    "/sign-in/style.css": ("style.css", "text/css; charset=utf-8"),
    "/sign-in/sign_in.js": ("sign_in.js", "text/javascript; charset=utf-8"),
    "/sign-in/mark.svg": ("mark.svg", "image/svg+xml"),
}
#: Beginnings of paths that belong to others: what is not found there is not a page.
_NOT_PAGES = ("/api/", "/mlflow/")
#: Of Dash's own routes, those that the pages use.
_DASH = ("/_dash-component-suites/", "/_dash-layout", "/_dash-dependencies", "/_dash-update-component", "/assets/")
_POLICY = (
    "default-src 'none'; script-src 'self'{inline}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)

#: Makes the application and says which inline scripts it may run.
Build = Callable[[ASGIApp], tuple[ASGIApp, str]]


def mount_pages(app: FastAPI) -> Pages:
    """Let the pages answer whatever no route of ``app`` does.

    ``app`` must be made with ``anonymous_pages=ANONYMOUS``. Call `Pages.warm` once it serves; otherwise the
    first visitor waits for what it does.
    """
    pages = Pages(app)
    app.router.default = pages
    return pages


class Pages:
    """The pages as an ASGI application that is put together when it is first needed."""

    def __init__(self, api: ASGIApp, build: Build | None = None) -> None:
        self._api = api
        self._build = build or _build
        self._built: asyncio.Future[tuple[ASGIApp, str]] | None = None

    async def warm(self, after: float = 0.0) -> None:
        """Put the pages together ``after`` so many seconds, so that no visitor waits for it."""
        await asyncio.sleep(after)
        await self._ready()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        path: str = scope["path"]
        if path.startswith(_NOT_PAGES):
            raise HTTPException(404, "there is no such route")
        if path in _FILES:
            await _file(path, scope, receive, send)
            return
        app, inline = await self._ready()
        if path.startswith(_DASH):
            await self._inside(app, scope, receive, _with_policy(send, inline, 200))
            return
        if path.startswith("/_") or scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(404, "there is no such page")
        # The browser finds the page by its address; what it is sent first is the same for all of them.
        status = 404 if places.find(path).page == "lost" else 200
        inner = {**scope, "path": "/", "raw_path": b"/", "method": "GET"}
        await self._inside(app, inner, receive, _with_policy(send, inline, status))

    async def _inside(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        token = asking.set({name: headers[name] for name in PASSED_ON if name in headers})
        try:
            await app({**scope, "root_path": "", "app": None, "state": {}}, receive, send)
        finally:
            asking.reset(token)

    async def _ready(self) -> tuple[ASGIApp, str]:
        failed = self._built is not None and self._built.done() and self._built.exception() is not None
        if self._built is None or failed:
            self._built = asyncio.ensure_future(asyncio.to_thread(self._build, self._api))
        # One visitor who goes away must not stop it for all.
        return await asyncio.shield(self._built)


def _build(api: ASGIApp) -> tuple[ASGIApp, str]:
    # Imported here, in a thread: Dash takes a second that the start of the control plane does not have.
    return import_module("lockgate.controlplane.web.site").build(api)


async def _file(path: str, scope: Scope, receive: Receive, send: Send) -> None:
    file, kind = _FILES[path]
    headers = {"content-security-policy": _POLICY.format(inline=""), "cache-control": "no-cache"}
    await FileResponse(SIGN_IN / file, media_type=kind, headers=headers)(scope, receive, send)


def _with_policy(send: Send, inline: str, status: int) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = _POLICY.format(inline=f" {inline}" if inline else "")
            if headers.get("content-type", "").startswith(("text/html", "application/json")):
                headers["cache-control"] = "no-store"
            if message["status"] == 200:
                message = {**message, "status": status}
        await send(message)

    return sending
