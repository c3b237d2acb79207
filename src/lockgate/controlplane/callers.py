"""Finds out who sent a request, and whether a browser was tricked into sending it."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from lockgate.base.clock import Clock
from lockgate.base.errors import Forbidden, Unauthenticated
from lockgate.controlplane.sessions import COOKIE, Sessions
from lockgate.domain.access.records import Caller
from lockgate.edge_ports import Identities

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Longest Authorization header that is looked at.
_LONGEST = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Callers:
    """Knows who sent a request: by bearer token, by basic authentication with a token as password, by session."""

    identities: Identities
    sessions: Sessions
    clock: Clock

    async def find(self, method: str, headers: Headers) -> Caller:
        """Who sent the request with this method and these headers.

        Raises:
            Unauthenticated: nobody we know.
            Forbidden: a browser sent it on behalf of another site.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, token = _credentials(authorization)
            if scheme == "basic":
                # Browsers remember basic credentials and attach them to other sites' requests too.
                refuse_cross_site(method, headers, known_client=False)
            return await run_in_threadpool(self.identities.caller, token)
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if not cookie:
            raise Unauthenticated(hint="send a token as `Authorization: Bearer lg_...`, or sign in on the web page")
        refuse_cross_site(method, headers, known_client=True)
        return await run_in_threadpool(self.identities.holder, self.sessions.read(cookie, self.clock.now()))


def refuse_cross_site(method: str, headers: Headers, *, known_client: bool) -> None:
    """Let a change through only when the browser says that our own page asked for it.

    Args:
        known_client: whether only browsers send such a request, so that one which says nothing is refused too.

    Raises:
        Forbidden: another site asked for it, or nobody says who did.
    """
    if method in SAFE:
        return
    site, origin, host = headers.get("sec-fetch-site"), headers.get("origin"), headers.get("host")
    told = site is not None or origin is not None
    ours = site in (None, "same-origin") and (origin is None or (host and origin.partition("://")[2] == host))
    if not ours or (known_client and not told):
        raise Forbidden("this request did not come from our own pages", hint="use a token instead of the session")


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, value = authorization.partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if len(authorization) > _LONGEST or scheme not in ("bearer", "basic"):
        raise Unauthenticated("this way of signing in is not known", hint="use `Authorization: Bearer lg_...`")
    if scheme == "bearer":
        return scheme, value
    try:
        _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:  # covers what is no base64 and what is no text
        raise Unauthenticated("the basic credentials cannot be read") from error
    return scheme, password
