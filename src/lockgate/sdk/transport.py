"""How a client speaks to the platform: requests, retries where they are safe, refusals as exceptions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import httpx

from lockgate.base.errors import LockgateError, Unavailable

#: A JSON object as it came.
Json = dict[str, Any]

#: Answers that say "try again", and the pauses between the attempts.
_PASSING = frozenset({502, 503, 504})
_PAUSES = (0.2, 0.5, 1.0)

_BY_CODE: dict[str, type[LockgateError]] = {kind.code: kind for kind in LockgateError.__subclasses__()}
#: For answers of something in between, or of the gateway, that carry no code of ours.
_BY_STATUS = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    422: "invalid",
    429: "overloaded",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


class Transport:
    """One address and one token. Safe for one thread."""

    def __init__(self, url: str, token: str, *, timeout: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = url.rstrip("/")
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        # No pool outlives a program this way, and no proxy of the environment sees a token meant for this machine.
        self._http = httpx.Client(headers=headers, timeout=timeout, trust_env=not _local(self.url))

    def get(self, path: str, **query: Any) -> Any:
        """GET; tried again when the platform is away for a moment."""
        asked = {name: value for name, value in query.items() if value is not None}
        return self._asked(lambda: self._http.get(self.url + path, params=asked))

    def text(self, path: str, **query: Any) -> str:
        """GET of what is no JSON."""
        answer = self._sent(lambda: self._http.get(self.url + path, params=query, headers={"Accept": "*/*"}))
        if not answer.is_success:
            raise error_of(answer.status_code, _told(answer))
        return answer.text

    def post(self, path: str, body: Any) -> Any:
        """POST with a key, so that trying again cannot do it twice."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._asked(lambda: self._http.post(self.url + path, json=body, headers=headers))

    def post_once(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """POST that is never tried again."""
        return _answer(self._sent(lambda: self._http.post(self.url + path, json=body, headers=headers)))

    def send(self, path: str, content: Callable[[], Iterator[bytes] | bytes]) -> Any:
        """POST bytes that are kept by their content, so that sending them twice keeps them once."""
        kind = {"Content-Type": "application/octet-stream"}
        return self._asked(lambda: self._http.post(self.url + path, content=content(), headers=kind, timeout=600))

    def patch(self, path: str, body: Any) -> Any:
        """PATCH; it says how things shall be, so doing it twice is doing it once."""
        return self._asked(lambda: self._http.patch(self.url + path, json=body))

    def delete(self, path: str, **query: Any) -> Any:
        """DELETE; doing it twice is doing it once."""
        asked = {name: value for name, value in query.items() if value is not None}
        return self._asked(lambda: self._http.delete(self.url + path, params=asked))

    def pages(self, path: str, **query: Any) -> Iterator[Json]:
        """Every item of a list, a page at a time, as far as the caller reads."""
        after: str | None = None
        while True:
            page = cast(Json, self.get(path, **query, after=after))
            yield from cast(list[Json], page["items"])
            after = cast("str | None", page.get("next"))
            if not after:
                return

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _asked(self, ask: Callable[[], httpx.Response]) -> Any:
        for pause in _PAUSES:
            try:
                answer = self._sent(ask)
            except Unavailable:
                self._sleep(pause)
                continue
            if answer.status_code not in _PASSING:
                return _answer(answer)
            self._sleep(pause)
        return _answer(self._sent(ask))

    def _sent(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            return ask()
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{self.url} did not answer in time", hint="see how it is with `lockgate status`"
            ) from error
        except httpx.InvalidURL as error:
            raise LockgateError(f"{self.url!r} is no address") from error
        except httpx.TransportError as error:
            raise Unavailable(f"nothing answers at {self.url}", hint="start it with `lockgate up`") from error


def _answer(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json() if answer.content else None
    raise error_of(answer.status_code, _told(answer))


def _told(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return cast(Mapping[str, Any], told) if isinstance(told, dict) else {}


def error_of(status: int, told: Mapping[str, Any]) -> LockgateError:
    """The exception for a refusal: of the class its code names, with its sentence, hint and problems."""
    # The gateway's codes are finer than ours; what kind of refusal it is, its status says.
    kind = _BY_CODE.get(str(told.get("code")), _BY_CODE.get(_BY_STATUS.get(status, ""), LockgateError))
    sentence = str(told.get("detail") or told.get("error") or told.get("title") or f"the platform answered {status}")
    problems = tuple(str(problem) for problem in told.get("problems") or ())
    return kind(sentence, hint=str(told.get("hint") or ""), problems=problems)


def _local(url: str) -> bool:
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
