"""Routes that say who may use them. One that does not cannot be registered.

    router = declared_router("/endpoints")

    @router.get("/{endpoint}")
    @needs(Action.VIEW)
    def show(endpoint: str, access: AccessTo) -> EndpointOut: ...

    @router.post("/{endpoint}/rollback")
    @needs(Action.OPERATE, environment=named_in_path("endpoint"))
    def roll_back(endpoint: str, body: RollbackIn, access: AccessTo) -> EndpointOut: ...

    @router.post("/{promotion}/approve")
    @needs(Action.APPROVE, environment=LATER)
    def approve(promotion: str, access: AccessTo) -> PromotionOut:
        ...  # read the record, then
        access.require(environment=record.environment, requested_by=record.requested_by)

Who is asking and whether they may is settled before the body is read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from lockgate.base.errors import BadSettings, Forbidden, LockgateError
from lockgate.controlplane.api.idempotency import answer_once
from lockgate.controlplane.parts import Parts, parts_of
from lockgate.domain.access.records import Action, Caller
from lockgate.ports import Authorizer, Why

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__lockgate_declared__"


class Openness(Enum):
    """Routes that need no caller."""

    ANONYMOUS = "anonymous"


class When(Enum):
    """Environments that are not in the path."""

    #: The act belongs to no environment.
    NONE = "none"
    #: The record knows it; the route asks again with `Access.require` once it has read it.
    LATER = "later"


ANONYMOUS = Openness.ANONYMOUS
LATER = When.LATER


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedInPath:
    """The environment stands in a path parameter, alone or as the end of an endpoint's name."""

    parameter: str


def named_in_path(parameter: str) -> NamedInPath:
    """Take the environment from a path parameter such as ``prod`` or ``thyroid.prod``."""
    return NamedInPath(parameter=parameter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """Who may use a route."""

    action: Action | Openness
    environment: NamedInPath | When
    #: The route reads the body itself, piece by piece.
    streams: bool
    #: The answer holds a secret, so it is kept nowhere.
    secret: bool


def needs(
    action: Action | Openness,
    *,
    environment: NamedInPath | When = When.NONE,
    streams: bool = False,
    secret: bool = False,
) -> Callable[[F], F]:
    """Declare what a route's caller must be allowed to do, and where.

    Args:
        environment: where the environment is found; by default the act belongs to none.
        streams: leave the body unread for the route; such a route keeps no idempotency keys.
        secret: the answer holds a secret; such a route keeps none either.
    """

    def mark(endpoint: F) -> F:
        declared = Declared(action=action, environment=environment, streams=streams, secret=secret)
        setattr(endpoint, _MARK, declared)
        return endpoint

    return mark


@dataclass(kw_only=True, slots=True)
class Access:
    """The caller of the request under way, and what they are allowed."""

    caller: Caller
    action: Action
    authorizer: Authorizer
    parts: Parts
    #: Whether the decision was made in full.
    settled: bool = field(default=False)

    def require(self, *, environment: str = "", requested_by: str = "") -> None:
        """Go on only when the caller may do the declared action in this environment.

        Args:
            requested_by: who asked for what is being approved.

        Raises:
            Forbidden: they may not.
        """
        self.settled = True
        if not self.authorizer.allows(self.caller, self.action, environment=environment, requested_by=requested_by):
            raise _forbidden(self.caller, self.action, environment, requested_by)

    def require_also(self, action: Action, *, environment: str) -> None:
        """Go on only when the caller may do a second thing too, which the request asks for with the first.

        Raises:
            Forbidden: they may not.
        """
        if not self.authorizer.allows(self.caller, action, environment=environment):
            raise _forbidden(self.caller, action, environment, "")

    def why(self, reason: str) -> Why:
        """The who and why of a transaction that does what was asked."""
        links = (("token", self.caller.token), ("behind", self.caller.behind))
        return Why(
            actor=self.caller.principal,
            reason=reason,
            at=self.parts.clock.now(),
            links=tuple(link for link in links if link[1]),
            behind=self.caller.behind,
        )


class DeclaredRoute(APIRoute):
    """A route that settles who may use it before anything else happens."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.declared = declaration_of(endpoint, path)
        told: dict[str, Any] = {"x-lockgate-action": self.declared.action.value}
        if isinstance(self.declared.action, Openness):
            told["security"] = []
        options["openapi_extra"] = {**told, **(options.get("openapi_extra") or {})}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner, declared = super().get_route_handler(), self.declared

        async def handle(request: Request) -> Response:
            if isinstance(declared.action, Openness):
                return await inner(request)
            access = await _admit(request, declared.action, declared.environment)
            request.state.access = access
            if not declared.streams:
                # Read here, a body that is too large is told as such; the framework would call it malformed.
                await request.body()

            async def settled(request: Request) -> Response:
                response = await inner(request)
                if not access.settled:
                    raise LockgateError(f"{request.method} {self.path} answered without having asked who may")
                return response

            once = not (declared.streams or declared.secret)
            return await (answer_once(request, access.caller, settled) if once else settled(request))

        return handle


def declared_router(prefix: str, *, tag: str = "") -> APIRouter:
    """A router whose routes must declare who may use them; `tag` groups them in the documentation."""
    return APIRouter(prefix=prefix, tags=[tag or prefix.strip("/")], route_class=DeclaredRoute)


def declaration_of(endpoint: Callable[..., Any], path: str) -> Declared:
    """What a route's function declares.

    Raises:
        BadSettings: it declares nothing.
    """
    declared = getattr(endpoint, _MARK, None)
    if not isinstance(declared, Declared):
        raise BadSettings(f"the route {path} does not declare who may use it", hint="put @needs(...) on it")
    return declared


def declarations(routers: Iterable[APIRouter], prefix: str) -> dict[tuple[str, str], Declared]:
    """Method and path of every route to what it declares.

    Raises:
        BadSettings: a route that was made by other means and declares nothing.
    """
    found: dict[tuple[str, str], Declared] = {}
    for router in routers:
        for route in router.routes:
            if not isinstance(route, DeclaredRoute):
                raise BadSettings(f"{getattr(route, 'path', route)} is no declared route", hint="use declared_router")
            for method in route.methods or ():
                found[method, prefix + route.path] = route.declared
    return found


async def _admit(request: Request, action: Action, environment: NamedInPath | When) -> Access:
    parts = parts_of(request)
    caller = await parts.callers.find(request.method, request.headers)
    access = Access(caller=caller, action=action, authorizer=parts.authorizer, parts=parts)
    if isinstance(environment, NamedInPath):
        name = str(request.path_params[environment.parameter]).rpartition(".")[2]
        access.require(environment=name)
    elif environment is When.NONE:
        access.require()
    elif not parts.authorizer.might(caller, action):
        raise _forbidden(caller, action, "", "")
    return access


def _forbidden(caller: Caller, action: Action, environment: str, requested_by: str) -> Forbidden:
    where = f" in {environment}" if environment else ""
    if action is Action.APPROVE and requested_by == caller.principal:
        return Forbidden("nobody approves what they asked for themselves", hint="ask a second person")
    if action is Action.APPROVE and not caller.person:
        return Forbidden("only people approve", hint="sign in as a person")
    if action is Action.OVERRIDE and not caller.person:
        return Forbidden("only people break the glass", hint="sign in as a person")
    roles = ", ".join(sorted(caller.roles)) or "no role"
    bound = f", and this token only {', '.join(sorted(caller.environments))}" if caller.environments else ""
    return Forbidden(
        f"{caller.principal} may not {action.value}{where}",
        hint=f"{caller.principal} has {roles}{bound}; an administrator can change that",
    )


def _current(request: Request) -> Access:
    return cast(Access, request.state.access)


#: What a route's function asks for to know its caller: ``def show(access: AccessTo)``.
AccessTo = Annotated[Access, Depends(_current)]
