"""What gateways take and send, and what is known of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from lockgate.base.errors import Invalid
from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.domain.access.records import Action
from lockgate.domain.registry.manifest import to_plain
from lockgate.edge_ports import Heartbeat
from lockgate.ports import ProfileRow
from lockgate.workflows.read_gateway_state import GatewayState, read_gateway_state

router = declared_router("/gateway", tag="gateway")

#: Longest time between two looks, in seconds: another replica's change rings no bell here.
_LOOK_AGAIN = 0.5
#: A gateway that was not heard of for so long is taken for gone; it tells of itself every five seconds.
_LATELY = timedelta(seconds=15)


class LogIn(BaseModel):
    """How a gateway's prediction log does."""

    model_config = ConfigDict(extra="forbid")

    #: Records since the gateway's start.
    written: int = Field(ge=0)
    dropped: int = Field(ge=0)
    #: Why it cannot write just now; empty when it can.
    trouble: str = Field(default="", max_length=1000)


class HeartbeatIn(BaseModel):
    """A sign of life."""

    model_config = ConfigDict(extra="forbid")

    worker: str = Field(max_length=100)
    boot: str = Field(max_length=100)
    #: -1 before there is one.
    generation: int = Field(ge=-1)
    pid: int = Field(ge=0)
    #: Endpoint that this generation did not reach -> the generation that answers it, -1 for none.
    held: dict[str, int] = Field(default={}, max_length=10_000)
    #: Package -> why it cannot be loaded.
    problems: dict[str, str] = Field(default={}, max_length=1000)
    log: LogIn = LogIn(written=0, dropped=0)


class _Push(msgspec.Struct):
    source: str
    seq: int
    rows: list[ProfileRow]


@router.get("/state", responses={304: {"description": "nothing changed within the wait"}})
@needs(Action.SERVE)
async def state(
    access: AccessTo,
    generation: Annotated[int, Query(description="the generation that is served now, -1 for none")] = -1,
    revision: Annotated[str, Query(alias="access", max_length=100)] = "",
    wait: Annotated[float, Query(ge=0, le=30)] = 0.0,
) -> Response:
    """Routes and access, as soon as either differs from what the gateway has."""
    parts, left = access.parts, wait
    while True:
        ticket = parts.news.ticket
        found = await run_in_threadpool(read_gateway_state, parts.store, parts.authorizer, parts.clock.now())
        if found.table.generation != generation or found.access_revision != revision:
            return Response(msgspec.json.encode(_plain(found)), media_type="application/json")
        if left <= 0 or parts.news.closed:
            return Response(status_code=304)
        pause = min(_LOOK_AGAIN, left)
        await parts.news.wait(ticket, pause)
        left -= pause


@router.post("/profiles", status_code=204)
@needs(Action.SERVE, streams=True)
async def profiles(request: Request, access: AccessTo) -> None:
    """Add counts to those that are known, each push once."""
    try:
        push = msgspec.msgpack.decode(await request.body(), type=_Push)
    except msgspec.MsgspecError as error:
        raise Invalid(f"this is no push of profiles: {error}") from error
    await run_in_threadpool(access.parts.profiles.add, push.source, push.seq, push.rows)


@router.post("/heartbeat", status_code=204)
@needs(Action.SERVE)
def heartbeat(body: HeartbeatIn, access: AccessTo) -> None:
    """Note that a gateway lives and what it serves."""
    access.parts.gateways.note(
        Heartbeat(
            worker=body.worker,
            boot=body.boot,
            generation=body.generation,
            pid=body.pid,
            held=body.held,
            problems=body.problems,
            logged=body.log.written,
            dropped=body.log.dropped,
            trouble=body.log.trouble,
            seen_at=access.parts.clock.now(),
        )
    )


@router.get("/workers")
@needs(Action.VIEW)
def workers(access: AccessTo) -> list[Heartbeat]:
    """The gateways that were heard of lately, and the generation that each answers by."""
    return access.parts.gateways.alive(access.parts.clock.now() - _LATELY)


def _plain(found: GatewayState) -> dict[str, Any]:
    return {
        "generation": found.table.generation,
        "table": to_plain(found.table),
        "access": {"revision": found.access_revision, "tokens": list(found.tokens)},
    }
