"""Keeps everything that is no API behind the sign-in: one rule for all pages, present and to come."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lockgate.base.errors import Forbidden, LockgateError, Unauthenticated
from lockgate.controlplane.api.errors import problem_of
from lockgate.controlplane.callers import Callers
from lockgate.domain.access.records import Action
from lockgate.ports import Authorizer

#: The page to sign in on.
SIGN_IN = "/sign-in"


class SignedInOnly:
    """Lets requests for pages through when their caller may look; ``scope["state"]["caller"]`` is then the caller."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        callers: Callers,
        authorizer: Authorizer,
        elsewhere: Collection[str],
        anonymous: Collection[str] = (),
    ) -> None:
        """
        Args:
            elsewhere: beginnings of paths whose own routes decide; each ends in a slash.
            anonymous: paths, or with a slash at their end beginnings of paths, that anybody may see.
        """
        self._app = app
        self._callers = callers
        self._authorizer = authorizer
        self._elsewhere = tuple(elsewhere)
        self._open = frozenset({SIGN_IN, *(path for path in anonymous if not path.endswith("/"))})
        self._open_folders = tuple(path for path in anonymous if path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._passes(scope["path"]):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # Nothing here speaks over a socket that stays open, and a browser would attach its cookie to one.
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        try:
            caller = await self._callers.find(scope["method"], headers)
            if not self._authorizer.allows(caller, Action.VIEW):
                raise Forbidden(f"{caller.principal} may not look at the pages")
        except LockgateError as error:
            await refusal(error, scope, headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _passes(self, path: str) -> bool:
        # A path with .. in it could name a page by way of an open folder.
        if path in self._open:
            return True
        return ".." not in path and path.startswith((*self._elsewhere, *self._open_folders))


def refusal(error: LockgateError, scope: Scope, headers: Headers) -> Response:
    """What somebody who may not see a page gets: a person in a browser the sign-in, all others a problem."""
    person = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
    if isinstance(error, Unauthenticated) and person:
        query = scope["query_string"].decode("latin-1")
        target = scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"{SIGN_IN}?next={quote(target, safe='/')}", 303)
    return problem_of(error)
