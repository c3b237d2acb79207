"""Is it alive, is it ready, which version is it: all that anybody may ask without signing in."""

from __future__ import annotations

import logging
from importlib.metadata import version

from fastapi import Request, Response
from pydantic import BaseModel

from lockgate.controlplane.api.declared import ANONYMOUS, declared_router, needs
from lockgate.controlplane.parts import parts_of

_log = logging.getLogger(__name__)

router = declared_router("", tag="health")


class Live(BaseModel):
    """The process answers."""

    live: bool = True


class Ready(BaseModel):
    """Whether all that is needed is there. Why a part is not is in the log, not here: anybody may ask this."""

    ready: bool
    parts: dict[str, bool]


class Version(BaseModel):
    """Which version runs."""

    version: str


@router.get("/health/live")
@needs(ANONYMOUS)
async def live() -> Live:
    """The process is alive."""
    return Live()


@router.get("/health/ready", responses={503: {"model": Ready}})
@needs(ANONYMOUS)
def ready(request: Request, response: Response) -> Ready:
    """All parts that requests need are there; 503 while they are not."""
    troubles = {name: check() for name, check in parts_of(request).readiness.items()}
    for name, trouble in troubles.items():
        if trouble:
            _log.warning("%s is not ready: %s", name, trouble)
    parts = {name: not trouble for name, trouble in troubles.items()}
    answer = Ready(ready=all(parts.values()), parts=parts)
    response.status_code = 200 if answer.ready else 503
    return answer


@router.get("/version")
@needs(ANONYMOUS)
async def tell_version() -> Version:
    """Which version of the platform this is."""
    return Version(version=version("lockgate"))
