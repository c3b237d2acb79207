"""Every way in which a request can fail, as problem details (RFC 9457)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lockgate.base.errors import Invalid, LockgateError

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: What each error code is in HTTP. A code that is not here is our own mistake, and so a 500.
STATUS: dict[str, int] = {
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "exists": 409,
    "gate_refused": 409,
    "stale_report": 409,
    "not_allowed_now": 409,
    "too_large": 413,
    "invalid": 422,
    "unsafe_artifact": 422,
    "corrupt_artifact": 422,
    "not_servable": 422,
    "unavailable": 503,
    "overloaded": 503,
    "internal": 500,
    "bad_settings": 500,
    "ledger_broken": 500,
}

#: What to do next, where whoever refuses knows nothing better.
_USUAL_HINT: dict[str, str] = {
    "not_found": "see how it is written; the lists show what there is",
    "method_not_allowed": "/api/v1/openapi.json describes every route",
    "conflict": "look at it again, then try again",
    "exists": "take another name",
    "not_allowed_now": "look at how it stands now",
    "too_large": "LOCKGATE_MAX_BODY sets the limit; tables go to /api/v1/data, which takes more",
    "invalid": "/api/v1/openapi.json describes what each route takes",
}

#: Codes for what the framework refuses before our own code is asked.
_FRAMEWORK = {400: "invalid", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "invalid"}


class Problem(BaseModel):
    """What is answered instead of what was asked for."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    problems: list[str] = []


def problem(
    status: int, code: str, detail: str, *, hint: str = "", problems: Sequence[str] = (), headers: Any = None
) -> JSONResponse:
    """A problem as a response."""
    content = Problem(
        type=f"urn:lockgate:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint or _USUAL_HINT.get(code, ""),
        problems=list(problems),
    )
    return JSONResponse(content.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: LockgateError) -> JSONResponse:
    """An error of ours as a response; what is nobody's fault but ours is logged, and told by its number alone."""
    status = STATUS.get(error.code, 500)
    if status == 500:
        return unexpected(error)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status)
    return problem(status, error.code, error.message, hint=error.hint, problems=error.problems, headers=headers)


def unexpected(error: BaseException) -> JSONResponse:
    """Log an error nobody foresaw under a number, and tell the caller that number and nothing else."""
    number = secrets.token_hex(6)
    _log.error("unexpected error %s", number, exc_info=error)
    return problem(
        500, "internal", f"something went wrong inside lockgate (error {number})", hint="the log has it by that number"
    )


def handle_errors(app: FastAPI) -> None:
    """Make the application answer all errors as problems."""

    @app.exception_handler(LockgateError)
    async def ours(request: Request, error: LockgateError) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def badly_formed(  # pyright: ignore[reportUnusedFunction]
        request: Request, error: RequestValidationError
    ) -> JSONResponse:
        return problem_of(invalid_of(error))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        code = _FRAMEWORK.get(error.status_code, "invalid" if error.status_code < 500 else "internal")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)


def invalid_of(error: RequestValidationError) -> Invalid:
    """All that is wrong with a request, each named by its place in it. Values are not repeated: they may be secret."""
    problems = [f"{_place(each['loc'])}: {each['msg']}" for each in error.errors()]
    return Invalid("the request is not valid", problems=problems, hint="; ".join(problems[:3]))


def _place(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location) or "body"
