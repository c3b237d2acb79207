"""The platform's REST API as the pages use it: with the session of whoever looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import httpx
from starlette.types import ASGIApp

#: Headers of the browser's own request that the API needs to know who asks.
PASSED_ON = ("cookie", "host", "authorization", "origin")

#: Those headers, of the request under way.
asking: ContextVar[Mapping[str, str]] = ContextVar("asking")


def origin() -> str:
    """The address under which the browser knows the platform."""
    return asking.get().get("origin") or f"http://{asking.get().get('host', 'localhost')}"


class Problem(Exception):
    """The API answered with a problem"""

    def __init__(self, status: int, detail: str, hint: str = "") -> None:
        self.status = status
        self.detail = detail
        self.hint = hint
        super().__init__(detail)


class Rest:
    """Reads the API within the process, on behalf of the request under way."""

    def __init__(self, app: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(app)

    async def get(self, path: str, **query: Any) -> Any:
        """What the API answers under /api/v1; raises Problem."""
        headers = dict(asking.get())
        asked = {name: value for name, value in query.items() if value is not None}
        # The Host is that of the browser's request: the platform answers to its own names only.
        async with httpx.AsyncClient(transport=self._transport, base_url="http://localhost", headers=headers) as client:
            answer = await client.get(f"/api/v1{path}", params=asked)
        if answer.status_code >= 400:
            told: dict[str, Any] = answer.json()
            raise Problem(answer.status_code, str(told.get("detail", "")), str(told.get("hint", "")))
        return answer.json()

    async def items(self, path: str, **query: Any) -> list[Any]:
        """The first page of a list."""
        return (await self.get(path, **query))["items"]

    async def maybe(self, path: str, **query: Any) -> Any:
        """As `get`; None where there is no such thing, or the caller may not see it."""
        try:
            return await self.get(path, **query)
        except Problem as problem:
            if problem.status in (403, 404):
                return None
            raise

    async def all(self, *paths: str) -> list[Any]:
        """As `maybe`, of several at once."""
        return list(await asyncio.gather(*(self.maybe(path) for path in paths)))


def part(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")
