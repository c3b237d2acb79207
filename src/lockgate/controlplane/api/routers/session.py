"""Signing in and out of the web pages."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import BaseModel, Field, SecretStr

from lockgate.controlplane.api.declared import ANONYMOUS, declared_router, needs
from lockgate.controlplane.callers import refuse_cross_site
from lockgate.controlplane.parts import parts_of
from lockgate.controlplane.sessions import COOKIE, LASTS

router = declared_router("/session")


class SignIn(BaseModel):
    """What a person signs in with."""

    token: SecretStr = Field(max_length=200)


class SignedIn(BaseModel):
    """Who has signed in."""

    principal: str
    roles: list[str]


@router.post("")
@needs(ANONYMOUS)
def sign_in(body: SignIn, request: Request, response: Response) -> SignedIn:
    """Open a session for the holder of a token; the answer sets a cookie."""
    refuse_cross_site("POST", request.headers, known_client=False)
    parts = parts_of(request)
    caller = parts.identities.caller(body.token.get_secret_value().strip())
    response.set_cookie(
        COOKIE,
        parts.sessions.write(caller.token, parts.clock.now()),
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        secure=parts.sessions.secure,
        samesite="strict",
    )
    return SignedIn(principal=caller.principal, roles=sorted(caller.roles))


@router.delete("", status_code=204)
@needs(ANONYMOUS)
def sign_out(request: Request, response: Response) -> None:
    """Close the session of this browser."""
    refuse_cross_site("DELETE", request.headers, known_client=False)
    response.delete_cookie(COOKIE, httponly=True, secure=parts_of(request).sessions.secure, samesite="strict")
