"""One request of a connection, and what its answer still waits for."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from lockgate.dataplane.refusal import Refused

#: What a caller may send of one request before it hears that more is welcome.
STREAM_WINDOW = 1 << 20


class Answers(Protocol):
    """The connection, as far as a stream needs it."""

    def answer(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None: ...

    def send(self, stream: Stream, head: bytes, data: bytes, tail: bytes) -> None: ...


class Stream:
    """A request on its way in, and its answer on its way out."""

    __slots__ = (
        "answered",
        "connection",
        "credit",
        "ended",
        "gone",
        "handed",
        "head",
        "id",
        "opened",
        "parts",
        "reserved",
        "size",
        "state",
        "waiting",
        "window",
    )

    def __init__(self, connection: Answers, number: int, head: Any, window: int, opened: float) -> None:
        self.connection = connection
        self.id = number
        #: What the application made of its headers.
        self.head = head
        #: Monotonic seconds.
        self.opened = opened
        #: The application's own, for calls that are more than a question and an answer.
        self.state: Any = None
        #: Bytes that may be sent to it; below 0 when its reader made its window smaller.
        self.window = window
        #: Bytes that may come from it before its window is opened again.
        self.credit = STREAM_WINDOW
        #: Pieces of its body, their size, and the room kept for them among all bodies.
        self.parts: list[bytes] = []
        self.size = 0
        self.reserved = 0
        #: Nothing more comes.
        self.ended = False
        #: The application has it, and will answer it.
        self.handed = False
        #: Nobody waits for the answer any more.
        self.gone = False
        #: The whole answer is here, though some of it may wait.
        self.answered = False
        #: Pieces that wait for the reader's window: whether they are the last headers, and the bytes.
        self.waiting: deque[tuple[bool, Any]] | None = None

    def answer(self, head: bytes, data: bytes, tail: bytes) -> None:
        """The whole answer: a block of headers, the bytes, a block of trailers. To be called once."""
        self.connection.answer(self, head, data, tail)

    def send(self, head: bytes = b"", data: bytes = b"", tail: bytes = b"") -> None:
        """A part of an answer that goes on; ``tail`` ends it."""
        self.connection.send(self, head, data, tail)


class Application(Protocol):
    """What answers the requests of HTTP/2 connections."""

    def understand(self, headers: dict[bytes, bytes]) -> Any:
        """What a request's headers mean; remembered and shared by requests whose headers are equal."""
        ...

    def streams(self, head: Any) -> bool:
        """Whether this kind of request is shown its body in pieces."""
        ...

    def request(self, stream: Stream, body: bytes) -> None:
        """A whole request; it has to be answered by `Stream.answer`, once."""
        ...

    def received(self, stream: Stream, data: bytes, ended: bool) -> None:
        """More of the body of a request that streams."""
        ...

    def cancelled(self, stream: Stream) -> None:
        """Nobody waits for the answer any more; a whole request is still to be answered."""
        ...

    def refuse(self, stream: Stream, refused: Refused) -> None:
        """Answer a request of which no more is read."""
        ...
