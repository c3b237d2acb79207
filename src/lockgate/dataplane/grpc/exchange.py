"""One call that is a question and an answer."""

from __future__ import annotations

from typing import Any

from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.grpc.wire import INTERNAL, OK_TAIL, PLAIN_HEAD, packed, refusal
from lockgate.dataplane.http2.headers import block
from lockgate.dataplane.http2.stream import Stream
from lockgate.dataplane.refusal import Refused

_FAULT = block([(b"grpc-status", b"%d" % INTERNAL), (b"grpc-message", b"a fault in the gateway")])


class _Nobody:
    """The carrier of exchanges that bring their answers themselves."""

    def answered(self) -> None:
        return


_NOBODY = _Nobody()


class GrpcExchange(Exchange):
    """A call whose message is all here, waiting for its one answer."""

    __slots__ = ("id", "learnt", "outputs", "pattern", "raw", "request", "stamp", "stream")

    def __init__(self, stream: Stream, head: Head, timeout: float | None) -> None:
        super().__init__(_NOBODY, head, stream.opened)
        self.stream = stream
        self.protocol = "grpc"
        if timeout is not None:
            self.deadline = stream.opened + timeout
        #: The request as a message; None while it need not be one.
        self.request: Any = None
        #: What the request was known by without being read, and what the next like it can be known by.
        self.pattern: Any = None
        self.learnt: Any = None
        #: The caller's own id, which is echoed.
        self.id = ""
        #: The outputs it asks for; empty for all.
        self.outputs: tuple[Any, ...] = ()
        #: Whether the answer's values go out as raw bytes.
        self.raw = False
        #: The headers that go before the answer.
        self.stamp = PLAIN_HEAD

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Answer with a message behind its length; ``head``, which is HTTP/1.1's, is not sent."""
        stamp = self.stamp
        if self.witness is not None:
            stamp += block(_fields(self.witness.answered(status)))
        self.stream.answer(stamp, body, OK_TAIL)

    def message(self, message: Any) -> None:
        """Answer with a message."""
        self.stream.answer(PLAIN_HEAD, packed(message.SerializeToString()), OK_TAIL)

    def json(self, status: int, value: Any) -> None:
        """Answer that something went wrong here; there is no JSON in gRPC."""
        if self.witness is not None:
            self.witness.answered(status)
        self.stream.answer(PLAIN_HEAD, b"", _FAULT)

    def refuse(self, refused: Refused) -> None:
        """Answer with what went wrong."""
        fields: list[tuple[bytes, bytes]] = []
        if self.witness is not None:
            self.witness.refused(refused)
            fields = _fields(self.witness.answered(refused.status))
        self.stream.answer(b"", b"", refusal(refused) + block(fields))


def _fields(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as HTTP/2 has them."""
    pairs = [line.split(b": ", 1) for line in lines.split(b"\r\n") if line]
    return [(name.lower(), value) for name, value in pairs]
