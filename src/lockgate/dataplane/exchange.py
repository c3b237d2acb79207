"""One request and the place its answer goes to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from lockgate.dataplane.compression import LEAST_PACKED, chosen, packed
from lockgate.dataplane.limits import Priority, Tenant
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.streaming import Stream

_encoder = msgspec.json.Encoder()
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
#: Heads that are kept at once.
MOST_HEADS = 2048
JSON = b"content-type: application/json\r\n"
_BINARY = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
#: Answers from here on are packed in a thread.
_LONG = 256 << 10


class Head:
    """What a request says before its body. Clients send the same one again and again, so it is read once and kept."""

    __slots__ = ("headers", "length", "method", "path")

    def __init__(self, method: str, path: bytes, headers: dict[bytes, bytes], length: int) -> None:
        self.method = method
        #: Path and query as sent.
        self.path = path
        #: Lower-case names. Never changed: other requests may have the same.
        self.headers = headers
        #: Bytes of the body that follows; -1 for a head that is not kept.
        self.length = length


class Carrier(Protocol):
    """Knows how to bring answers to a caller, in the order of the requests."""

    def answered(self) -> None:
        """Some exchange has its answer."""
        ...


class Witness(Protocol):
    """Knows how to tell of one request: it is traced, or will have its line in the access log."""

    def routed(self, protocol: str, endpoint: str, version: str, role: str, prediction_id: str) -> None:
        """Which version is to answer it."""
        ...

    def called(self, began: float, ended: float, requests: int, rows: int, lane: str) -> None:
        """When the call was that answered it (monotonic seconds), how many shared it, and where it ran."""
        ...

    def refused(self, refused: Refused) -> None:
        """It is about to be answered with an error."""
        ...

    def answered(self, status: int) -> bytes:
        """It has its answer; gives header lines to send along."""
        ...


class Exchange:
    """A request whose body is all here, waiting for its one answer."""

    __slots__ = (
        "answer",
        "body",
        "carrier",
        "closing",
        "deadline",
        "gone",
        "head",
        "head_only",
        "headers",
        "json_length",
        "method",
        "path",
        "pieces",
        "priority",
        "protocol",
        "shed",
        "started",
        "tenant",
        "unpacked",
        "witness",
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
        self.priority = Priority.NORMAL
        #: Who is counted as asking while this is under way, where that is limited.
        self.tenant: Tenant | None = None
        #: As what it is counted.
        self.protocol = "oip"
        #: Who is told how it goes; nobody, for most.
        self.witness: Witness | None = None
        self.body = b""
        #: Whether the body was brought out of its compression, or why it could not be.
        self.unpacked: bool | Refused = False
        #: Bytes of JSON before the raw tensors of the answer; None when there are none.
        self.json_length: int | None = None
        #: The whole answer, once there is one.
        self.answer: bytes | None = None
        #: In place of a whole answer: one that goes out piece by piece.
        self.pieces: Stream | None = None
        #: Called when the caller goes away before the end of the answer.
        self.gone: Callable[[], object] | None = None
        #: The connection ends after this answer.
        self.closing = False
        #: It was turned away for want of room, and its caller may be back at once.
        self.shed = False
        self.head_only = head.method == "HEAD"

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Answer; ``head`` holds whole header lines, content-type among them."""
        if self.json_length is not None:
            head = head.replace(JSON, _BINARY % self.json_length)
        if len(body) >= LEAST_PACKED and (accepted := self.headers.get(b"accept-encoding")) is not None:
            coding = chosen(accepted)
            if len(body) >= _LONG and coding:
                packing = asyncio.get_running_loop().run_in_executor(None, packed, body, coding)
                packing.add_done_callback(lambda done: self._answer(status, _coded(head, coding), done.result()))
                return
            if coding:
                head, body = _coded(head, coding), packed(body, coding)
        self._answer(status, head, body)

    def _answer(self, status: int, head: bytes, body: bytes) -> None:
        if self.witness is not None:
            head += self.witness.answered(status)
        closing = b"connection: close\r\n" if self.closing else b""
        if self.head_only:
            self.answer = b"%b%b%bcontent-length: %d\r\n\r\n" % (_STATUS[status], head, closing, len(body))
        else:
            self.answer = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (_STATUS[status], head, closing, len(body), body)
        self.carrier.answered()

    def begin(self, status: int, head: bytes) -> Stream:
        """Answer piece by piece; ``head`` as in `reply`. Every stream has to be ended."""
        if self.witness is not None:
            head += self.witness.answered(status)
        framing = b"connection: close\r\n" if self.closing else b"transfer-encoding: chunked\r\n"
        opened = b"%b%b%b\r\n" % (_STATUS[status], head, framing)
        self.pieces = Stream(opened, chunked=not self.closing, tell=self.carrier.answered)
        self.carrier.answered()
        return self.pieces

    def abandon(self) -> None:
        """The caller went away: work that was not begun need not be."""
        self.deadline = 0.0
        if self.gone is not None:
            self.gone()

    def json(self, status: int, value: Any) -> None:
        """Answer with a JSON value."""
        self.reply(status, JSON, _encoder.encode(value))

    def refuse(self, refused: Refused) -> None:
        """Answer with what went wrong."""
        if self.witness is not None:
            self.witness.refused(refused)
        self.closing = self.closing or refused.close
        self.json_length = None
        self.shed = refused.status in (429, 503)
        extra = "".join(f"{name}: {value}\r\n" for name, value in refused.headers).encode()
        self.reply(refused.status, JSON + extra, refused.body())


def due(waiting: deque[Exchange], *, held: bool) -> tuple[list[bytes], bool]:
    """Take the answers whose turn it is, and say whether their connection ends with the last of them.

    ``held``: the connection cannot send more just now, so what goes out piece by piece has to wait.
    """
    ready: list[bytes] = []
    while waiting:
        exchange = waiting[0]
        if exchange.pieces is not None:
            exchange.pieces.held = held
            ready.append(exchange.pieces.take())
            if not exchange.pieces.ended:
                break
        elif exchange.answer is None:
            break
        else:
            ready.append(exchange.answer)
        waiting.popleft()
        if exchange.closing:
            return ready, True
    return ready, False


def hold(waiting: deque[Exchange], *, held: bool) -> None:
    """Let whoever sends piece by piece go no faster than the caller reads."""
    if waiting and waiting[0].pieces is not None:
        waiting[0].pieces.hold(held)


def _coded(head: bytes, coding: bytes) -> bytes:
    return b"%bcontent-encoding: %b\r\nvary: accept-encoding\r\n" % (head, coding)
