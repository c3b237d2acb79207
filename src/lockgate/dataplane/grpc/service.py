"""Which call does what: from HTTP/2 streams to the gateway, and back with whatever goes wrong."""

from __future__ import annotations

from typing import Any, cast

from lockgate.dataplane.batching import Encode, Row
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.grpc import infer
from lockgate.dataplane.grpc.answers import write
from lockgate.dataplane.grpc.calls import Call, Methods, Unary
from lockgate.dataplane.grpc.exchange import GrpcExchange
from lockgate.dataplane.grpc.health import Health, Watching
from lockgate.dataplane.grpc.models import Models
from lockgate.dataplane.grpc.reflection import Reflection
from lockgate.dataplane.grpc.wire import refusal, tail, unpacked
from lockgate.dataplane.http2.stream import Stream
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.journal import say
from lockgate.dataplane.metrics import Metrics
from lockgate.dataplane.refusal import Refused, too_late
from lockgate.dataplane.routing import LiveTarget
from lockgate.dataplane.telemetry.watch import Watch, trace_of

#: Messages up to here cost less to read than it costs to see who sent them.
_SMALL = 4096
_INFERENCE = b"/inference.GRPCInferenceService/"


class Service:
    """Answers the calls of all connections; the application of `http2`."""

    def __init__(self, gateway: Gateway, metrics: Metrics, version: str, watch: Watch | None = None) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._watch = watch or Watch(gateway.options.telemetry)
        self._limit = gateway.options.max_body
        self._watching = Watching(gateway)
        models = Models(gateway, version)
        unary: dict[bytes, Unary] = {
            _INFERENCE + b"ModelInfer": self._infer,
            b"/grpc.health.v1.Health/Check": Health(gateway).check,
        }
        reflection = "grpc.reflection.v1", "grpc.reflection.v1alpha"
        self._methods = Methods(
            unary=unary | {_INFERENCE + name.encode(): method for name, method in models.methods.items()},
            streaming={
                b"/grpc.health.v1.Health/Watch": self._watching,
                **{
                    f"/{package}.ServerReflection/ServerReflectionInfo".encode(): Reflection(package)
                    for package in reflection
                },
            },
        )

    def end(self) -> None:
        """End the calls that would go on for ever."""
        self._watching.end()

    # --- what http2 asks

    def understand(self, headers: dict[bytes, bytes]) -> Call:
        """What a call's headers mean."""
        return Call(headers, self._methods)

    def streams(self, head: Any) -> bool:
        """Whether a call's messages are looked at as they come."""
        return head.streaming is not None

    def request(self, stream: Stream, body: bytes) -> None:
        """Answer a call that is a question and an answer."""
        call: Call = stream.head
        if call.refusal or call.unary is None:
            stream.answer(b"", b"", call.refusal)
            return
        exchange = stream.state = GrpcExchange(stream, call.head, call.timeout)
        watch = self._watch
        if b"traceparent" in call.head.headers or watch.coin() < watch.rate:
            watch.begin(exchange)
        try:
            if call.timeout == 0.0:
                raise too_late()
            call.unary(exchange, unpacked(body, call.bits, self._limit))
        except Refused as refused:
            self._metrics.refused(refused)
            exchange.refuse(refused)
        except Exception as error:
            # A fault of ours must neither leave the call without an answer nor end the worker.
            path = call.head.path.decode("latin-1")[:200]
            say("a fault in the gateway", error=repr(error), path=path, **trace_of(exchange.witness))
            exchange.json(500, {})

    def received(self, stream: Stream, data: bytes, ended: bool) -> None:
        """Hand on what the caller of a streaming call says."""
        call: Call = stream.head
        if call.streaming is None:
            return
        if call.refusal:
            stream.send(tail=call.refusal)
            return
        try:
            call.streaming.received(stream, data, ended)
        except Refused as refused:
            self._metrics.refused(refused)
            stream.send(tail=refusal(refused) if stream.state is None else tail(refused))
        except Exception as error:  # as above
            say("a fault in the gateway", error=repr(error), path=call.head.path.decode("latin-1")[:200])
            refused = Refused(500, "internal", "a fault in the gateway", hint="see its log")
            stream.send(tail=refusal(refused) if stream.state is None else tail(refused))

    def cancelled(self, stream: Stream) -> None:
        """Forget a call."""
        call: Call = stream.head
        if call.streaming is not None:
            call.streaming.cancelled(stream)
        elif stream.state is not None:
            stream.state.abandon()

    def refuse(self, stream: Stream, refused: Refused) -> None:
        """Answer a call of which no more is read."""
        self._metrics.refused(refused)
        stream.answer(b"", b"", stream.head.refusal or refusal(refused))

    # --- ModelInfer

    def _infer(self, exchange: GrpcExchange, data: bytes) -> None:
        exchange.body = data
        call: Call = exchange.stream.head
        pattern: infer.Pattern | None = call.pattern
        if pattern is not None and pattern.fits(data):
            exchange.pattern = pattern
            self._gateway.predict(exchange, pattern.model, pattern.version or None, _read)
            if exchange.learnt is not None:
                call.pattern = pattern.learn(exchange.learnt)
            return
        if len(data) > _SMALL:
            # Strangers' messages are not even read.
            self._gateway.permitted(exchange)
        request = exchange.request = infer.parsed(data)
        self._gateway.predict(exchange, request.model_name, request.model_version or None, _read)
        call.pattern = exchange.learnt


def _read(exchange: Exchange, target: LiveTarget) -> tuple[Inputs | Row, Encode]:
    return infer.read(cast(GrpcExchange, exchange), target), write
