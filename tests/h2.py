"""The calling side of HTTP/2 and gRPC: frames made and read by hand, so that they may be wrong."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

from lockgate.dataplane.http2 import frames
from lockgate.dataplane.http2.frames import PREFACE, frame, settings

HELLO = PREFACE + settings({})
INFER = b"/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Frame:
    """One frame that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The number in a WINDOW_UPDATE or RST_STREAM."""
        return int.from_bytes(self.payload)


def read(data: bytes) -> Iterator[Frame]:
    """The whole frames of what a server sent."""
    at = 0
    while len(data) - at >= 9:
        word, flags, stream = struct.unpack_from(">IBI", data, at)
        end = at + 9 + (word >> 8)
        if end > len(data):
            return
        yield Frame(word & 0xFF, flags, stream, data[at + 9 : end])
        at = end


def headers(path: bytes = INFER, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """What a gRPC client says before its message."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *more,
    ]


def message(data: bytes) -> bytes:
    """A message behind its length."""
    return b"\0" + len(data).to_bytes(4) + data


@dataclass
class Caller:
    """Encodes what one connection sends, and decodes what it gets."""

    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)
    stream: int = -1

    def call(self, given: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
        """A whole request on a new stream."""
        self.stream += 2
        block = self.encoder.encode(given)
        opened = frame(frames.HEADERS, frames.END_HEADERS, self.stream, block)
        return opened + frame(frames.DATA, frames.END_STREAM, self.stream, body)

    def fields(self, found: Frame) -> dict[str, str]:
        """The headers of a frame; frames have to be shown in the order in which they came."""
        return {
            bytes(name).decode(): bytes(value).decode() for name, value in self.decoder.decode(found.payload, raw=True)
        }


@dataclass
class Answer:
    """What came on one stream."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    reset: int | None = None
    ended: bool = False


class Wire:
    """A connection to a gateway over a real socket."""

    def __init__(self, port: int, hello: bytes = HELLO) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.caller = Caller()
        self.frames: list[Frame] = []
        self._rest = b""
        if hello:
            self.socket.sendall(hello)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def more(self) -> bool:
        """Take what comes; False at the connection's end."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            return False
        self._rest += data
        for found in read(self._rest):
            self.frames.append(found)
            self._rest = self._rest[9 + len(found.payload) :]
        return bool(data)

    def answers(self, *streams: int) -> dict[int, Answer]:
        """Wait until these streams are over, or the connection is; gives all that came."""
        found: dict[int, Answer] = {}
        at = 0
        while True:
            for item in self.frames[at:]:
                answer = found.setdefault(item.stream, Answer())
                if item.kind == frames.HEADERS:
                    answer.headers |= self.caller.fields(item)
                    answer.ended = bool(item.flags & frames.END_STREAM)
                elif item.kind == frames.DATA:
                    answer.body += item.payload
                elif item.kind == frames.RST_STREAM:
                    answer.reset = item.number
                    answer.ended = True
            at = len(self.frames)
            if all(stream in found and found[stream].ended for stream in streams) or not self.more():
                return found

    def goaway(self) -> tuple[int, int]:
        """Wait for the connection's end; gives the last stream and the error of the last GOAWAY."""
        while self.more():
            pass
        last = [found.payload for found in self.frames if found.kind == frames.GOAWAY][-1]
        return struct.unpack_from(">II", last)
