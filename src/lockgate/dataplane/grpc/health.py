"""``grpc.health.v1``: whether the gateway, its service or one endpoint answers; asked once, or watched."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.message import DecodeError

from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.grpc.exchange import GrpcExchange
from lockgate.dataplane.grpc.schema import message
from lockgate.dataplane.grpc.wire import PLAIN_HEAD, packed, tail, unpacked
from lockgate.dataplane.http2.stream import Stream
from lockgate.dataplane.refusal import Refused, bad_input, not_found, unavailable

_Request = message("grpc.health.v1.HealthCheckRequest")
_Response = message("grpc.health.v1.HealthCheckResponse")
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3

#: Names of which everybody may ask: the gateway as a whole, and its services.
_OPEN = frozenset({"", "inference.GRPCInferenceService", "grpc.health.v1.Health"})
_LONGEST_REQUEST = 4096
#: How often those who watch are told of what changed.
_LOOK_SECONDS = 0.1


class Health:
    """``Check``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def check(self, exchange: GrpcExchange, data: bytes) -> None:
        """Answer one question; raises Refused (404) for what nobody knows."""
        name = _read(data)
        if name not in _OPEN:
            self._gateway.endpoint(exchange, name)
        status = status_of(self._gateway, name)
        if status == _UNKNOWN:
            raise not_found("there is no such service")
        exchange.message(_Response(status=status))


def status_of(gateway: Gateway, name: str) -> int:
    """How a service or an endpoint does just now."""
    if name in _OPEN:
        return _SERVING if gateway.ready else _NOT_SERVING
    found = gateway.table.endpoints.get(name) if gateway.table is not None else None
    if found is None:
        return _UNKNOWN
    return _SERVING if gateway.answers(found) else _NOT_SERVING


class _Watch:
    """Somebody who watches."""

    __slots__ = ("buffer", "name", "told")

    def __init__(self) -> None:
        self.buffer = b""
        self.name: str | None = None
        self.told: int | None = None


class Watching:
    """``Watch``: told at once, and again whenever it changes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asking: dict[Stream, _Watch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def received(self, stream: Stream, data: bytes, ended: bool) -> None:
        """Take the one message, and then watch."""
        watch = self._asking.setdefault(stream, _Watch())
        watch.buffer += data
        if len(watch.buffer) > _LONGEST_REQUEST:
            del self._asking[stream]
            raise Refused(413, "too_large", "the message is too large")
        if not ended:
            return
        try:
            name = _read(unpacked(watch.buffer, stream.head.bits, _LONGEST_REQUEST))
            if name not in _OPEN:
                self._gateway.routes()
                self._gateway.access.check(stream.head.head.headers.get(b"authorization"), "")
        except Refused:
            del self._asking[stream]
            raise
        watch.name = name
        stream.state = watch
        stream.send(PLAIN_HEAD)
        self._tell(stream, watch)
        self._look_again()

    def cancelled(self, stream: Stream) -> None:
        """Forget somebody."""
        self._asking.pop(stream, None)

    def end(self) -> None:
        """Tell everybody that it is over here."""
        asking, self._asking = self._asking, {}
        for stream, watch in asking.items():
            if watch.name is not None:
                stream.send(tail=tail(unavailable("this gateway stops", "watch another")))

    def _tell(self, stream: Stream, watch: _Watch) -> None:
        status = status_of(self._gateway, watch.name or "")
        if status != watch.told:
            watch.told = status
            stream.send(data=packed(_Response(status=status).SerializeToString()))

    def _look_again(self) -> None:
        if self._timer is None and self._asking:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        for stream, watch in list(self._asking.items()):
            if watch.name is not None:
                self._tell(stream, watch)
        self._look_again()


def _read(data: bytes) -> Any:
    try:
        return _Request.FromString(data).service
    except DecodeError as error:
        raise bad_input("the message is no HealthCheckRequest") from error
