"""What gRPC puts around messages: length and compression, time-outs, statuses; and protobuf's own small change."""

from __future__ import annotations

import re
import struct
import zlib

from lockgate.dataplane.http2.headers import block
from lockgate.dataplane.refusal import Refused, bad_input

PREFIX = struct.Struct(">BI")

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 1, 2, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED = 7, 8, 9, 12
INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 13, 14, 16

#: What a refusal's HTTP status is in gRPC.
STATUS = {
    400: INVALID_ARGUMENT,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    408: DEADLINE_EXCEEDED,
    409: FAILED_PRECONDITION,
    413: RESOURCE_EXHAUSTED,
    415: INVALID_ARGUMENT,
    422: INVALID_ARGUMENT,
    429: RESOURCE_EXHAUSTED,
    500: INTERNAL,
    501: UNIMPLEMENTED,
    503: UNAVAILABLE,
    504: DEADLINE_EXCEEDED,
}
#: How a compressed message is read, by ``grpc-encoding``: zlib's window bits.
ENCODINGS = {b"identity": 0, b"gzip": 31, b"deflate": 15}
ACCEPTED = b"identity, deflate, gzip"
CONTENT_TYPE = (b"content-type", b"application/grpc")
#: The headers of an answer that says nothing of its own, and the trailers of one that succeeded.
PLAIN_HEAD = block([CONTENT_TYPE], status=200)
OK_TAIL = block([(b"grpc-status", b"0")])

_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_UNSAFE = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_LONGEST_MESSAGE = 1000


def packed(message: bytes) -> bytes:
    """A message as it goes over the wire, uncompressed."""
    return PREFIX.pack(0, len(message)) + message


def unpacked(body: bytes, bits: int, limit: int) -> bytes:
    """The one message of a body; ``bits`` says how it is compressed if it is, 0 for not at all.

    Raises:
        Refused: there is not exactly one, it cannot be decompressed, or is larger than ``limit`` bytes.
    """
    if len(body) < PREFIX.size:
        raise bad_input("the call carries no message")
    flag, length = PREFIX.unpack_from(body)
    if length > limit:
        raise _too_large(limit)
    if length != len(body) - PREFIX.size or flag > 1:
        raise bad_input("the call does not carry exactly one whole message")
    message = body[PREFIX.size :]
    if not flag:
        return message
    if not bits:
        raise bad_input("a message is compressed, and grpc-encoding does not say how")
    return _inflated(message, bits, limit)


def _inflated(message: bytes, bits: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=bits)
    try:
        found = inflater.decompress(message, limit + 1)
    except zlib.error as error:
        raise bad_input("a compressed message cannot be decompressed") from error
    if len(found) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise bad_input("a compressed message cannot be decompressed")
    return found


def _too_large(limit: int) -> Refused:
    return Refused(413, "too_large", f"the message is larger than {limit} bytes", hint="send fewer rows at once")


def timeout_of(text: bytes) -> float:
    """Seconds of a ``grpc-timeout``; raises Refused."""
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise bad_input("grpc-timeout is no time", "it is up to eight digits and one of H, M, S, m, u, n")
    return int(found[1]) * _UNITS[found[2]]


def refusal_fields(refused: Refused) -> list[tuple[bytes, bytes]]:
    """The trailers that say what went wrong."""
    text = f"{refused.message} ({refused.hint})" if refused.hint else refused.message
    fields = [
        (b"grpc-status", b"%d" % STATUS.get(refused.status, UNKNOWN)),
        (b"grpc-message", _UNSAFE.sub(_escaped, text[:_LONGEST_MESSAGE].encode("utf-8", "replace"))),
        (b"x-lockgate-code", refused.code.encode()),
    ]
    for name, value in refused.headers:
        if name == "retry-after":
            fields += [
                (b"retry-after", value.encode()),
                (b"grpc-retry-pushback-ms", b"%d" % round(float(value) * 1000)),
            ]
    return fields


def refusal(refused: Refused) -> bytes:
    """A whole answer that is nothing but trailers."""
    return block([CONTENT_TYPE, *refusal_fields(refused)], status=200)


def tail(refused: Refused) -> bytes:
    """The trailers of an answer that had begun."""
    return block(refusal_fields(refused))


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def varint(number: int) -> bytes:
    """A number from 0 on as protobuf writes it."""
    if number < 128:
        return bytes((number,))
    parts = bytearray()
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def field(number: int, data: bytes) -> bytes:
    """A field of protobuf that has a length: text, bytes, a message, or packed numbers."""
    return varint(number << 3 | 2) + varint(len(data)) + data
