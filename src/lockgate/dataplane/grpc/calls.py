"""What the headers of a call say, read once for all calls whose headers are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lockgate.dataplane.exchange import Head
from lockgate.dataplane.grpc.exchange import GrpcExchange
from lockgate.dataplane.grpc.wire import (
    ACCEPTED,
    CONTENT_TYPE,
    ENCODINGS,
    refusal,
    refusal_fields,
    timeout_of,
)
from lockgate.dataplane.http2.headers import block
from lockgate.dataplane.http2.stream import Stream
from lockgate.dataplane.refusal import Refused


class Unary(Protocol):
    """Answers a method with one message in and one out."""

    def __call__(self, exchange: GrpcExchange, data: bytes) -> None:
        """Answer the message, or see to it that it is answered; raises Refused."""
        ...


class Streaming(Protocol):
    """Answers a method of which one side may say several things."""

    def received(self, stream: Stream, data: bytes, ended: bool) -> None:
        """More of what the caller says; raises Refused."""
        ...

    def cancelled(self, stream: Stream) -> None:
        """The caller is gone."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Methods:
    """What can be called, by path."""

    unary: Mapping[bytes, Unary]
    streaming: Mapping[bytes, Streaming]


class Call:
    """A kind of call. Shared by all with the same headers, so nothing of one request but its looks is kept here."""

    __slots__ = ("bits", "head", "pattern", "refusal", "streaming", "timeout", "unary")

    def __init__(self, headers: dict[bytes, bytes], methods: Methods) -> None:
        self.head = Head("POST", headers[b":path"], headers, 0)
        #: What the last message of such a call looked like.
        self.pattern: Any = None
        self.timeout: float | None = None
        #: How its messages are compressed, as `unpacked` wants to know it.
        self.bits = 0
        self.unary: Unary | None = None
        self.streaming: Streaming | None = None
        #: The whole answer to a call that nobody can answer, else empty.
        self.refusal = _not_grpc(headers)
        if not self.refusal:
            self._read(headers, methods)

    def _read(self, headers: dict[bytes, bytes], methods: Methods) -> None:
        encoding = headers.get(b"grpc-encoding", b"identity")
        path = headers[b":path"]
        self.unary = methods.unary.get(path)
        self.streaming = methods.streaming.get(path)
        if encoding not in ENCODINGS:
            refused = Refused(501, "unsupported_encoding", "messages compressed like this are not taken")
            fields = [CONTENT_TYPE, *refusal_fields(refused), (b"grpc-accept-encoding", ACCEPTED)]
            self.refusal = block(fields, status=200)
        elif self.unary is None and self.streaming is None:
            self.refusal = refusal(Refused(501, "not_found", "there is no such method", hint="ask by reflection"))
        self.bits = ENCODINGS.get(encoding, 0)
        timeout = headers.get(b"grpc-timeout")
        if timeout is not None:
            try:
                self.timeout = timeout_of(timeout)
            except Refused as refused:
                self.refusal = refusal(refused)


def _not_grpc(headers: dict[bytes, bytes]) -> bytes:
    if headers[b":method"] != b"POST":
        return block([(b"allow", b"POST")], status=405)
    kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
    return b"" if kind in (b"application/grpc", b"application/grpc+proto") else block([], status=415)
