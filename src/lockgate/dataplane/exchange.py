"""One request and the place its answer goes to."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from lockgate.dataplane.refusal import Refused

_encoder = msgspec.json.Encoder()
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
JSON = b"content-type: application/json\r\n"


class Head:
    """What a request says before its body. Clients send the same one again and again, so it is read once and kept."""

    __slots__ = ("headers", "length", "memo", "method", "path")

    def __init__(self, method: str, path: bytes, headers: dict[bytes, bytes], length: int) -> None:
        self.method = method
        #: Path and query as sent.
        self.path = path
        #: Lower-case names. Never changed: other requests may have the same.
        self.headers = headers
        #: Bytes of the body that follows.
        self.length = length
        #: What its reader found out from it alone, to be found at once the next time.
        self.memo: Any = None


class Carrier(Protocol):
    """Knows how to bring answers to a caller, in the order of the requests."""

    def answered(self) -> None:
        """Some exchange has its answer."""
        ...


class Exchange:
    """A request whose body is all here, waiting for its one answer."""

    __slots__ = (
        "answer",
        "body",
        "carrier",
        "closing",
        "deadline",
        "head",
        "head_only",
        "headers",
        "method",
        "path",
        "started",
    )

    def __init__(self, carrier: Carrier, head: Head, started: float) -> None:
        self.carrier = carrier
        self.head = head
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        #: Monotonic seconds at which its first byte was read.
        self.started = started
        #: Monotonic seconds after which the caller no longer waits; None when it did not say.
        self.deadline: float | None = None
        self.body = b""
        #: The whole answer, once there is one.
        self.answer: bytes | None = None
        #: The connection ends after this answer.
        self.closing = False
        self.head_only = head.method == "HEAD"

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Answer; ``head`` holds whole header lines, content-type among them."""
        closing = b"connection: close\r\n" if self.closing else b""
        if self.head_only:
            self.answer = b"%b%b%bcontent-length: %d\r\n\r\n" % (_STATUS[status], head, closing, len(body))
        else:
            self.answer = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (_STATUS[status], head, closing, len(body), body)
        self.carrier.answered()

    def json(self, status: int, value: Any) -> None:
        """Answer with a JSON value."""
        self.reply(status, JSON, _encoder.encode(value))

    def refuse(self, refused: Refused) -> None:
        """Answer with what went wrong."""
        self.closing = self.closing or refused.close
        extra = "".join(f"{name}: {value}\r\n" for name, value in refused.headers).encode()
        self.reply(refused.status, JSON + extra, refused.body())
