"""Compressed bodies: requests unpacked within a limit, large answers packed for those who ask for it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from lockgate.dataplane.refusal import Refused, quoted

#: Answers shorter than this are sent as they are: packing them costs more than it saves.
LEAST_PACKED = 8 << 10
#: How fast rather than how small.
_LEVEL = 1
_GZIP, _ZLIB, _BARE = 31, 15, -15


class Unpacking:
    """One body on its way out of its compression, a bounded piece at a time: a bomb costs no memory."""

    def __init__(self, coding: bytes, body: bytes, limit: int) -> None:
        """``coding``: of Content-Encoding; ``limit``: bytes that may come out.

        Raises:
            Refused: 415, the coding is unknown.
        """
        coding = coding.strip().lower()
        self._gzip = coding in (b"gzip", b"x-gzip")
        if not self._gzip and coding != b"deflate":
            raise Refused(
                415,
                "unsupported_encoding",
                f"a body in {quoted(coding.decode('latin-1'))} is not taken",
                hint="send it as it is, or in gzip or deflate",
                headers=(("accept-encoding", "gzip, deflate"),),
            )
        self._rest = body
        self._limit = limit
        self._found = bytearray()
        self._stream = zlib.decompressobj(_GZIP if self._gzip else _deflated(body))

    def piece(self, most: int) -> bytes | None:
        """Unpack up to ``most`` bytes more; the whole once all is unpacked, else None.

        Raises:
            Refused: 400, the data are broken; 413, more comes out than the limit allows.
        """
        while most > 0:
            # One byte beyond the limit is enough to know that it is passed.
            room = min(most, self._limit - len(self._found) + 1)
            try:
                part = self._stream.decompress(self._rest, room)
            except zlib.error as error:
                raise _broken(str(error)) from error
            self._found += part
            most -= len(part)
            if len(self._found) > self._limit:
                raise Refused(
                    413,
                    "too_large",
                    f"the body is larger than {self._limit} bytes once it is unpacked",
                    hint="send fewer rows at once",
                )
            self._rest = self._stream.unconsumed_tail
            if self._stream.eof:
                left = self._stream.unused_data
                if not left:
                    return bytes(self._found)
                if not self._gzip:
                    raise _broken("bytes follow its end")
                # Files of gzip may be put one behind the other.
                self._stream, self._rest = zlib.decompressobj(_GZIP), left
            elif not self._rest and not part:
                raise _broken("it ends in the middle")
        return None

    def whole(self) -> bytes:
        """All that is left, however long it takes; as `piece`."""
        while True:
            found = self.piece(1 << 20)
            if found is not None:
                return found


def coding_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The compression of a request's body; empty for none."""
    coding = headers.get(b"content-encoding", b"").strip().lower()
    return b"" if coding == b"identity" else coding


def _deflated(body: bytes) -> int:
    """With zlib's head, as the standard wants it, or without one, as some send it."""
    headed = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if headed else _BARE


def _broken(told: str) -> Refused:
    return Refused(400, "invalid_input", f"the body cannot be unpacked: {told}", hint="check its Content-Encoding")


def chosen(accepted: bytes) -> bytes:
    """The coding to answer in, of those an Accept-Encoding names; empty for none."""
    named: dict[bytes, bool] = {}
    for item in accepted.lower().split(b","):
        name, _, parameter = item.partition(b";")
        named[name.strip()] = not _refused(parameter)
    for coding in (b"gzip", b"deflate"):
        if named.get(coding, False):
            return coding
    return b""


def _refused(parameter: bytes) -> bool:
    """Whether a weight says "not this"."""
    name, _, value = parameter.strip().partition(b"=")
    return name == b"q" and not value.strip(b"0. ")


def packed(body: bytes, coding: bytes) -> bytes:
    """A body in ``gzip`` or ``deflate``."""
    stream: Any = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if coding == b"gzip" else _ZLIB)
    return stream.compress(body) + stream.flush()
