"""Puts the control plane's application together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from lockgate.controlplane.api.declared import declarations, declared_router, needs
from lockgate.controlplane.api.edge import BodyLimit, Edge
from lockgate.controlplane.api.errors import MEDIA_TYPE, Problem, handle_errors
from lockgate.controlplane.api.routers import access, health, session
from lockgate.controlplane.pages import SignedInOnly
from lockgate.controlplane.parts import Parts
from lockgate.domain.access.records import Action

API = "/api/v1"
#: Where data sets are uploaded; larger bodies than elsewhere are taken here.
UPLOADS = f"{API}/data"
#: Where the description of the API keeps the shape of a problem.
_PROBLEM = "#/components/schemas/Problem"

_documentation = declared_router("", tag="documentation")


@_documentation.get("/openapi.json")
@needs(Action.VIEW)
def describe(request: Request) -> dict[str, Any]:
    """This API, described in OpenAPI."""
    return request.app.openapi()


#: What every installation serves; more routers are handed to `create_app`.
OWN: tuple[APIRouter, ...] = (health.router, session.router, access.router, _documentation)


def create_app(
    parts: Parts,
    routers: Sequence[APIRouter] = (),
    *,
    mounts: Mapping[str, ASGIApp] | None = None,
    anonymous_pages: Sequence[str] = (),
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The application: the API under `API`, the mounts, and whatever pages are added to it later.

    Pages need no declaration: all that is neither API nor mount is behind the sign-in, but for `anonymous_pages`.

    Args:
        routers: further routers of the API, each made by `declared_router`.
        mounts: applications by their path, such as ``/mlflow``, that settle for themselves who may use them.
        anonymous_pages: paths, or beginnings of paths that end in a slash, that the sign-in page itself needs.

    Raises:
        BadSettings: a route does not declare who may use it.
    """
    mounts = mounts or {}
    served = (*OWN, *routers)
    declared = declarations(served, API)
    app = FastAPI(
        title="Lockgate",
        version=version("lockgate"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses={
            "default": {"description": "What went wrong", "content": {MEDIA_TYPE: {"schema": {"$ref": _PROBLEM}}}}
        },
        middleware=[
            Middleware(Edge, hosts=parts.settings.allowed_hosts),
            Middleware(
                BodyLimit,
                limit=parts.settings.max_body,
                larger={UPLOADS: parts.settings.max_upload, **dict.fromkeys(mounts)},
            ),
            Middleware(
                SignedInOnly,
                callers=parts.callers,
                authorizer=parts.authorizer,
                elsewhere=[f"{API}/", *(f"{path}/" for path in mounts)],
                anonymous=anonymous_pages,
            ),
        ],
    )
    app.state.parts = parts
    app.state.declared = declared
    handle_errors(app)
    for router in served:
        app.include_router(router, prefix=API)
    for path, mounted in mounts.items():
        app.router.routes.append(Mount(path, mounted))
        app.router.routes.append(Route(path, _with_slash))
    _describe_sign_in(app)
    return app


async def _with_slash(request: Request) -> RedirectResponse:
    # Pages of a mounted application name their files relative to its root.
    return RedirectResponse(f"{request.url.path}/", 308)


def _describe_sign_in(app: FastAPI) -> None:
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            bearer = {"type": "http", "scheme": "bearer", "description": "a token, lg_..."}
            components = schema.setdefault("components", {})
            components["securitySchemes"] = {"token": bearer}
            components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
            schema["security"] = [{"token": []}]
        return plain()

    app.openapi = described
