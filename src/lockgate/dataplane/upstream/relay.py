"""OpenAI's protocol at the gateway: a request goes to the version that routes pick, its answer back as it comes.

Prompts and answers are written down nowhere: requests, errors, times and tokens are counted, and that is all.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import orjson

from lockgate.dataplane.counting import Tally
from lockgate.dataplane.exchange import JSON, Exchange
from lockgate.dataplane.gateway import MOST_KEY, Gateway
from lockgate.dataplane.journal import say
from lockgate.dataplane.refusal import Refused, bad_input, failure_of, not_found, overloaded, too_late
from lockgate.dataplane.routing import LiveEndpoint, LiveTarget
from lockgate.dataplane.streaming import Stream
from lockgate.dataplane.telemetry.seen import carrier_headers
from lockgate.dataplane.terms import told
from lockgate.dataplane.upstream.caller import Reply
from lockgate.dataplane.upstream.events import Events, tokens_of, usage_of
from lockgate.dataplane.upstream.openai_lane import OpenAILane
from lockgate.dataplane.upstream.spoken import Spoken, spoken
from lockgate.domain.monitoring.layout import Failure

_JSON_HEADERS = {"content-type": "application/json"}
#: How metrics call it.
PROTOCOL = "openai"
#: What a request counts as whose caller did not wait; nginx's number for it.
_GONE = 499
_EVENTS = b"content-type: text/event-stream\r\ncache-control: no-cache\r\n"
#: Requests shown to shadows at the same time; more are not shown.
_MOST_SHADOWS = 8
#: Answers about the request itself, in the protocol's own form: passed on as they are.
_PASSED_ON = frozenset({400, 409, 413, 415, 422, 429})
_FAILURES = {429: Failure.SHED}


@dataclass(frozen=True, kw_only=True)
class _Call:
    """One request on its way."""

    exchange: Exchange
    target: LiveTarget
    lane: OpenAILane
    tally: Tally
    shadows: Sequence[LiveTarget]
    #: Below the server's address.
    path: str
    asked: dict[str, Any]
    prediction_id: str

    @property
    def streams(self) -> bool:
        return self.asked.get("stream") is True

    @property
    def tells_usage(self) -> bool:
        """Whether its caller wants to hear at the end of a stream how many tokens it took."""
        options = self.asked.get("stream_options")
        return isinstance(options, dict) and bool(cast(dict[str, Any], options).get("include_usage"))


class Relay:
    """Passes requests on, and answers back."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: set[asyncio.Task[None]] = set()
        self._shadows: set[asyncio.Task[None]] = set()
        #: Tokens since the start, by endpoint, version, role and kind.
        self.tokens: dict[tuple[str, str, str, str], int] = {}
        #: Requests that were not shown to a shadow because too many were.
        self.shadow_dropped = 0

    def _used(self, tally: Tally, tokens: dict[str, int]) -> None:
        for kind, count in tokens.items():
            key = (tally.endpoint, tally.version, tally.role, kind)
            self.tokens[key] = self.tokens.get(key, 0) + count

    def take(self, exchange: Exchange, path: str) -> None:
        """``POST /openai/v1/…``; ``path`` is what stands behind ``/v1``. Raises Refused in the protocol's form."""
        try:
            call = self._read(exchange, path)
        except Refused as refused:
            raise spoken(refused) from refused
        exchange.body = b""
        task = asyncio.get_running_loop().create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.gone = task.cancel

    def _read(self, exchange: Exchange, path: str) -> _Call:
        gateway = self._gateway
        exchange.protocol = PROTOCOL
        if b"content-encoding" in exchange.headers:
            raise Refused(415, "unsupported_encoding", "compressed bodies are not taken", hint="send the body as it is")
        seconds, exchange.priority = told(exchange.headers)
        if seconds < math.inf:
            exchange.deadline = exchange.started + seconds
        # Only then are bodies looked at.
        gateway.permitted(exchange)
        asked = _asked(exchange.body)
        endpoint = gateway.endpoint(exchange, asked["model"])
        principal = gateway.permitted(exchange, endpoint.environment)
        header = exchange.headers.get(b"x-lockgate-key", b"")
        if len(header) > MOST_KEY:
            raise bad_input(f"the routing key is longer than {MOST_KEY} bytes")
        prediction_id = gateway.new_id()
        key = header.decode("latin-1") or prediction_id
        target = endpoint.pick(key)
        lane = _lane(endpoint, target)
        tally = gateway.counting.tally(endpoint.name, target.version, "live", lane)
        if exchange.witness is not None:
            exchange.witness.routed(PROTOCOL, endpoint.name, target.version, tally.role, prediction_id)
        try:
            gateway.admit(exchange, lane, principal)
            if lane.underway >= lane.slots:
                raise overloaded("too many requests are under way")
        except Refused as refused:
            _leave(exchange)
            tally.failed(failure_of(refused), refused.status, 1, PROTOCOL)
            raise
        return _Call(
            exchange=exchange,
            target=target,
            lane=lane,
            tally=tally,
            shadows=endpoint.shadows_of(key) if endpoint.shadows else (),
            path=path,
            asked=asked,
            prediction_id=prediction_id,
        )

    async def _serve(self, call: _Call) -> None:
        plane, tally = self._gateway.plane, call.tally
        plane.inflight += 1
        call.lane.underway += 1
        try:
            failure, status = await self._answer(call)
        except Refused as refused:
            failure, status = failure_of(refused), refused.status
            plane.refused(refused)
            call.exchange.refuse(spoken(refused))
        except Exception as error:
            # A fault of ours must leave nobody without an answer.
            say("a fault in the relay", version=call.target.version, error=repr(error))
            failure, status = Failure.MODEL_ERROR, 500
            if call.exchange.pieces is not None:
                call.exchange.pieces.end()
            else:
                call.exchange.refuse(Spoken(500, "internal", "a fault in the gateway", hint="see its log"))
        except asyncio.CancelledError:
            # The caller went away; that says nothing of the model.
            tally.requests += 1
            tally.total[_GONE, PROTOCOL] = tally.total.get((_GONE, PROTOCOL), 0) + 1
            raise
        finally:
            plane.inflight -= 1
            call.lane.underway -= 1
            _leave(call.exchange)
        call.exchange.gone = None
        if failure is not None:
            tally.failed(failure, status, 1, PROTOCOL)
        else:
            _succeeded(tally, time.monotonic() - call.exchange.started)
            self._show(call)
        self._gateway.counting.settle(tally)

    async def _answer(self, call: _Call) -> tuple[Failure | None, int]:
        """Answer; as what it counts. Raises Refused while nothing was sent yet."""
        response, added = await self._opened(call)
        if response.status == 200 and response.content_type == "text/event-stream":
            return await self._stream(call, response, added), 200
        reply = await call.lane.caller.whole(response, call.exchange.deadline)
        if reply.status != 200 and reply.status not in _PASSED_ON:
            raise _failed(call.lane.manifest.model, reply.status)
        head = call.target.stamp_of(call.prediction_id)
        if reply.status != 200:
            after = reply.headers.get("retry-after", "")
            head += f"retry-after: {after}\r\n".encode() if after.isdigit() else b""
            call.exchange.reply(reply.status, head, reply.body)
            return _FAILURES.get(reply.status, Failure.INVALID_INPUT), reply.status
        self._used(call.tally, _tokens(reply))
        call.exchange.reply(200, head, reply.body)
        return None, 200

    async def _opened(self, call: _Call) -> tuple[aiohttp.ClientResponse, bool]:
        """The server's answer, and whether it was asked for an event with tokens that our caller did not ask for."""
        caller, deadline = call.lane.caller, call.exchange.deadline
        headers = _JSON_HEADERS | carrier_headers(call.exchange)
        asked = call.asked | {"model": call.lane.name}
        if call.streams and not call.tells_usage and call.lane.tells_usage:
            options = cast(dict[str, Any], call.asked.get("stream_options") or {})
            more = asked | {"stream_options": options | {"include_usage": True}}
            response = await caller.open(call.path, orjson.dumps(more), headers, deadline)
            if response.status not in (400, 422):
                return response, True
            response.close()
            again = await caller.open(call.path, orjson.dumps(asked), headers, deadline)
            if again.status == 200:
                call.lane.tells_usage = False
            return again, False
        return await caller.open(call.path, orjson.dumps(asked), headers, deadline), False

    async def _stream(self, call: _Call, response: aiohttp.ClientResponse, added: bool) -> Failure | None:
        """Pass the events on as they come; from here on nothing is tried again."""
        head = call.target.stamp_of(call.prediction_id).replace(JSON, _EVENTS)
        stream = call.exchange.begin(200, head)
        try:
            await self._pass_on(call, response, stream, added)
        except Refused as refused:
            await stream.write(b"data: %b\n\n" % spoken(refused).body())
            stream.end()
            return failure_of(refused)
        finally:
            response.release()
        stream.end()
        return None

    async def _pass_on(self, call: _Call, response: aiohttp.ClientResponse, stream: Stream, added: bool) -> None:
        caller, events = call.lane.caller, Events()
        while True:
            started = time.monotonic()
            try:
                # Each piece has the package's time anew; the caller's own deadline stands.
                async with asyncio.timeout(caller.left(call.exchange.deadline)):
                    data = await response.content.readany()
            except TimeoutError:
                caller.ran_out(started)
                raise too_late() from None
            except (aiohttp.ClientError, OSError) as error:
                raise caller.broken(error) from error
            if not data:
                await stream.write(events.rest())
                return
            for event in events.feed(data):
                tokens, alone = usage_of(event)
                if tokens:
                    self._used(call.tally, tokens)
                if not (added and alone):
                    await stream.write(event)

    def _show(self, call: _Call) -> None:
        """Let shadows answer the same, whole and heard by nobody, as far as there is room."""
        for target in call.shadows:
            if not isinstance(target.lane, OpenAILane) or len(self._shadows) >= _MOST_SHADOWS:
                self.shadow_dropped += 1
                continue
            task = asyncio.get_running_loop().create_task(self._shadow(call, target, target.lane))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _shadow(self, call: _Call, target: LiveTarget, lane: OpenAILane) -> None:
        tally = self._gateway.counting.tally(target.endpoint, target.version, target.role, lane)
        asked = {name: value for name, value in call.asked.items() if name not in ("stream", "stream_options")}
        started = time.monotonic()
        body = orjson.dumps(asked | {"model": lane.name})
        try:
            reply = await lane.caller.ask(call.path, body, _JSON_HEADERS, None)
        except Refused as refused:
            tally.failed(failure_of(refused), refused.status, 1, PROTOCOL)
            return
        if reply.status == 200:
            self._used(tally, _tokens(reply))
            _succeeded(tally, time.monotonic() - started)
        else:
            tally.failed(_FAILURES.get(reply.status, Failure.MODEL_ERROR), reply.status, 1, PROTOCOL)
        self._gateway.counting.settle(tally)


def _leave(exchange: Exchange) -> None:
    """Its caller has one request less under way."""
    if exchange.tenant is not None:
        exchange.tenant.underway -= 1
        exchange.tenant = None


def _succeeded(tally: Tally, seconds: float) -> None:
    tally.requests += 1
    tally.rows += 1
    tally.succeeded[PROTOCOL] += 1
    tally.latencies.append(seconds)


def _asked(body: bytes) -> dict[str, Any]:
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_input(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise bad_input("the body is not a JSON object", 'send {"model": "<endpoint>", "messages": [...]}')
    asked = cast(dict[str, Any], found)
    if not isinstance(asked.get("model"), str):
        raise bad_input("the body names no model", "model is the name of an endpoint; GET /openai/v1/models lists them")
    return asked


def _lane(endpoint: LiveEndpoint, target: LiveTarget) -> OpenAILane:
    if isinstance(target.lane, OpenAILane):
        return target.lane
    raise not_found(f"{endpoint.name} is not a generative model", f"POST rows to /v2/models/{endpoint.name}/infer")


def _tokens(reply: Reply) -> dict[str, int]:
    try:
        return tokens_of(orjson.loads(reply.body))
    except orjson.JSONDecodeError:
        return {}


def _failed(model: str, status: int) -> Refused:
    """The server failed, or refused for a reason that is ours and not the caller's."""
    reasons = {401: "does not let us in", 403: "does not let us in", 404: "has no such model or address"}
    reason = reasons.get(status, f"failed ({status})")
    return Refused(502, "upstream_failed", f"the server behind {model} {reason}", hint="try again shortly")
