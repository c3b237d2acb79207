"""Calls to one server elsewhere: kept connections, deadlines, bounded answers, repeats where they are safe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp

from lockgate.base.errors import NotServable
from lockgate.dataplane.journal import say
from lockgate.dataplane.refusal import Refused, too_late
from lockgate.dataplane.upstream.rules import (
    PASSING,
    Allowance,
    Circuit,
    Failed,
    pause_before_another,
    seconds_of,
)
from lockgate.ports import Secrets

#: No whole answer may be larger; one that is relayed piece by piece may.
MOST_BYTES = 64 << 20
#: A call that was given less than this does not speak against its server when it runs out of time.
FAIR_SECONDS = 1.0
_KEPT_SECONDS = 15.0
_CHECK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Asks one server for one package. Made in any thread, used by one loop."""

    def __init__(
        self,
        who: str,
        url: str,
        token: str,
        secrets: Secrets,
        *,
        timeout: float,
        connections: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``who``: what messages call it; ``url``: where all paths begin; ``token``: ``secret://NAME``, or empty.

        ``chance``: numbers from 0 to 1 that spread repeats over time.

        Raises:
            NotServable: the token cannot be read.
        """
        parts = urlsplit(url)
        self.who = who
        self.circuit = Circuit()
        #: Calls that were made again, since the start.
        self.repeats = 0
        self._base = url.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._token = token
        self._secrets = secrets
        self._chance = chance
        self._timeout = timeout
        self._connections = connections
        self._allowance = Allowance()
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._farewell: asyncio.Future[None] | None = None
        self._authorization()

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str], deadline: float | None) -> Reply:
        """POST, and the whole answer by ``deadline`` (monotonic seconds), whatever its status below 502.

        Raises:
            Refused: 503 when the server cannot be reached, says so, or is let alone; 502 when its answer breaks off or
                is too large; 504 when there was no time left.
        """
        until = time.monotonic() + self.left(deadline)
        return await self.whole(await self.open(path, body, headers, until), until)

    async def whole(self, response: aiohttp.ClientResponse, deadline: float | None) -> Reply:
        """The rest of an answer that was opened. Raises as `ask`."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.left(deadline)):
                return Reply(status=response.status, headers=response.headers, body=await self._read(response))
        except TimeoutError:
            self.ran_out(started)
            raise too_late() from None
        finally:
            # What was read to its end is kept for the next call; anything else is closed.
            response.release()

    async def open(
        self, path: str, body: bytes, headers: Mapping[str, str], deadline: float | None
    ) -> aiohttp.ClientResponse:
        """POST, and the answer as soon as its head is here; whoever gets it closes it. Raises as `ask`."""
        started = time.monotonic()
        wait = self.circuit.wait(started)
        if wait:
            raise self._unavailable("is let alone for a moment: it failed again and again", wait)
        self._allowance.earn()
        tries = 0
        try:
            async with asyncio.timeout(self.left(deadline)):
                while True:
                    tries += 1
                    found = await self._try(path, body, headers)
                    if isinstance(found, aiohttp.ClientResponse):
                        self._answered()
                        return found
                    pause = pause_before_another(found, tries, self._chance(), self.left(deadline))
                    if pause is None or not self._allowance.spend():
                        raise self._gave_up(found)
                    self.repeats += 1
                    await asyncio.sleep(pause)
        except TimeoutError:
            self.ran_out(started)
            raise too_late() from None
        except asyncio.CancelledError:
            self.circuit.abandoned()
            raise

    def left(self, deadline: float | None) -> float:
        """Seconds that a call may take: until the deadline, and never longer than the package says.

        Raises:
            Refused: 504 when there are none.
        """
        left = self._timeout if deadline is None else min(self._timeout, deadline - time.monotonic())
        if left <= 0:
            raise too_late()
        return left

    def broken(self, error: Exception) -> Refused:
        """Take note that an answer broke off; what its caller is told."""
        self._fell(repr(error))
        return Refused(
            502, "upstream_failed", f"the server behind {self.who} broke off its answer", hint="try again shortly"
        )

    def ran_out(self, started: float) -> None:
        """Take note that a call begun at ``started`` had no answer in time."""
        if time.monotonic() - started >= min(FAIR_SECONDS, self._timeout):
            self._fell("no answer in time")
        else:
            self.circuit.abandoned()

    def check(self, path: str) -> None:
        """GET a path from any thread; raises NotServable unless the answer is 200."""
        try:
            status = asyncio.run(self._knock(path))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotServable(f"the server behind {self.who} cannot be reached: {type(error).__name__}") from error
        if status != 200:
            raise NotServable(f"the server behind {self.who} is not ready: it answers {status}")

    def close(self) -> None:
        """Close the connections; nothing is under way any more."""
        session, self._session = self._session, None
        if session is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, session)

    def _end(self, session: aiohttp.ClientSession) -> None:
        self._farewell = asyncio.ensure_future(session.close())

    async def _try(self, path: str, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse | Failed:
        try:
            authorization = self._authorization()
        except NotServable as error:
            self.circuit.abandoned()
            raise Refused(503, "upstream_unavailable", error.message, hint=error.hint) from error
        try:
            response = await self._opened().post(
                self._base + path,
                data=body,
                headers={"accept-encoding": "identity", **headers, **authorization},
                allow_redirects=False,
            )
        except aiohttp.ServerDisconnectedError as error:
            # The library gives what it has read of a head, or a sentence when that is nothing.
            return Failed(began=not isinstance(error.message, str))
        except (aiohttp.ClientConnectionError, OSError):
            return Failed(began=False)
        except aiohttp.ClientError:
            return Failed(began=True)
        if response.status not in PASSING:
            return response
        after = seconds_of(response.headers.get("retry-after"), datetime.now(UTC))
        response.close()
        return Failed(began=True, status=response.status, retry_after=after)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = response.content_length or 0
        try:
            if size <= MOST_BYTES:
                size = 0
                async for part in response.content.iter_any():
                    size += len(part)
                    if size > MOST_BYTES:
                        break
                    parts.append(part)
        except (aiohttp.ClientError, OSError) as error:
            raise self.broken(error) from error
        if size > MOST_BYTES:
            response.close()
            raise Refused(502, "upstream_failed", f"the server behind {self.who} answers with more than is taken")
        return b"".join(parts)

    async def _knock(self, path: str) -> int:
        timeout = aiohttp.ClientTimeout(total=_CHECK_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._base + path, headers=self._authorization(), allow_redirects=False) as response,
        ):
            return response.status

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._loop = asyncio.get_running_loop()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEPT_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CHECK_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _authorization(self) -> dict[str, str]:
        if not self._token:
            return {}
        return {"authorization": f"Bearer {self._secrets.read(self._token, self._origin)}"}

    def _answered(self) -> None:
        if self.circuit.open:
            say("a server elsewhere answers again", upstream=self._origin, of=self.who)
        self.circuit.succeeded()

    def _gave_up(self, failed: Failed) -> Refused:
        what = "cannot be reached" if failed.status is None else f"cannot answer just now ({failed.status})"
        self._fell(what)
        return self._unavailable(what, failed.retry_after or 1.0)

    def _fell(self, why: str) -> None:
        was_open = self.circuit.open
        self.circuit.failed(time.monotonic())
        if self.circuit.open and not was_open:
            say("a server elsewhere is let alone for a moment", upstream=self._origin, of=self.who, error=why)

    def _unavailable(self, what: str, wait: float) -> Refused:
        return Refused(
            503,
            "upstream_unavailable",
            f"the server behind {self.who} {what}",
            hint="try again shortly",
            headers=(("retry-after", str(max(1, round(wait)))),),
        )
