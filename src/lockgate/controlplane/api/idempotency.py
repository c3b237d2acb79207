"""Does what a POST asks for once, however often a client that lost the answer asks again."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from lockgate.base.digest import digest_of
from lockgate.base.errors import Invalid, LockgateError
from lockgate.controlplane.api.errors import MEDIA_TYPE, invalid_of, problem_of
from lockgate.controlplane.parts import parts_of
from lockgate.domain.access.records import Caller
from lockgate.edge_ports import Answer

_KEY = re.compile(r"[\x21-\x7e]{1,128}")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


async def answer_once(request: Request, caller: Caller, handler: Handler) -> Response:
    """Answer a request; with an ``Idempotency-Key`` the first answer is kept and given again.

    Refusals are answers too. Only a failure of ours gives the key back, so that a retry can succeed.
    """
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return await handler(request)
    if not _KEY.fullmatch(key):
        raise Invalid("the Idempotency-Key is not valid", hint="1 to 128 visible ASCII characters, such as a UUID")
    parts = parts_of(request)
    keys, who = parts.idempotency, caller.principal
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
    kept = await run_in_threadpool(keys.reserve, who, key, digest_of(asked), parts.clock.now())
    if kept is not None:
        kind = MEDIA_TYPE if kept.status >= 400 else "application/json"
        return Response(kept.body, kept.status, {"idempotency-replayed": "true"}, kind)
    done = False
    try:
        response = await _answer(request, handler)
        if response.status_code < 500:
            answer = Answer(status=response.status_code, body=bytes(response.body))
            await run_in_threadpool(keys.complete, who, key, answer)
            done = True
    finally:
        if not done:
            await run_in_threadpool(keys.release, who, key)
    return response


async def _answer(request: Request, handler: Handler) -> Response:
    try:
        return await handler(request)
    except RequestValidationError as error:
        return problem_of(invalid_of(error))
    except LockgateError as error:
        return problem_of(error)
