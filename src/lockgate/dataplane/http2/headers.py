"""Header blocks: read through a cache of blocks that cannot mean anything else, written without any state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from lockgate.dataplane.http2.frames import COMPRESSION_ERROR, DEFAULT_TABLE, ENHANCE_YOUR_CALM, Fault

#: Largest list of headers, counted as RFC 9113 counts it: 32 bytes for each beside its text.
MAX_LIST = 32 << 10
#: Blocks remembered for one connection, and the longest that is.
_MOST_BLOCKS = 64
_LONGEST_BLOCK = 2048

#: ``:status: 200``, an entry of the static table.
STATUS_200 = b"\x88"
_STATUS_NAME = 0x08
#: Says that the dynamic table, which is never used here, holds nothing.
NO_TABLE = b"\x20"

Meaning = TypeVar("Meaning")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_UPPER = frozenset(range(ord("A"), ord("Z") + 1))


class Malformed(Exception):
    """These headers are no request"""


class _Table(HeaderTable):
    """A dynamic table that tells when it changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.__set__(self, newmax)


class HeaderReader(Generic[Meaning]):
    """Reads the header blocks of one connection, in their order, and remembers what came of them.

    A block may be remembered only while the dynamic table is what it was when the block was read: from the second
    request on, clients that send the same headers send the same bytes, which then cost one look-up.
    """

    def __init__(self, understand: Callable[[dict[bytes, bytes]], Meaning]) -> None:
        """``understand`` makes of a request's headers what is remembered; it may raise Malformed."""
        self._understand = understand
        self._decoder = Decoder(max_header_list_size=MAX_LIST)
        self._decoder.max_allowed_table_size = DEFAULT_TABLE
        self._table = _Table()
        self._decoder.header_table = self._table
        self._known: dict[bytes, Meaning] = {}

    def read(self, block: bytes) -> Meaning:
        """What a request's headers mean.

        Raises:
            Malformed: they are no request; the connection may go on.
            Fault: they cannot be read, and nothing after them either.
        """
        known = self._known.get(block)
        return self._read(block) if known is None else known

    def skip(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Read a block of trailers, or one that nobody waits for, so that the table stays what the sender thinks it is.

        Raises:
            Fault: it cannot be read.
        """
        before = self._table.changes
        try:
            found = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            raise Fault(ENHANCE_YOUR_CALM, "a list of headers is too large") from error
        except (HPACKError, IndexError, ValueError) as error:
            raise Fault(COMPRESSION_ERROR, "a header block cannot be read") from error
        if self._table.changes != before:
            self._known.clear()
        return found

    def _read(self, block: bytes) -> Meaning:
        before = self._table.changes
        meaning = self._understand(checked(self.skip(block)))
        if self._table.changes == before and len(block) <= _LONGEST_BLOCK:
            if len(self._known) >= _MOST_BLOCKS:
                self._known.clear()
            self._known[block] = meaning
        return meaning


def checked(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers of a request by name, the later of two that repeat behind a comma.

    Raises:
        Malformed: what RFC 9113 calls malformed: pseudo-headers missing, twice, unknown or too late, names in capitals,
            headers that belong to a connection.
    """
    found: dict[bytes, bytes] = {}
    regular = False
    for name, value in pairs:
        if name[:1] == b":":
            if regular or name not in _PSEUDO or name in found:
                raise Malformed("a pseudo-header is unknown, twice or too late")
            found[name] = value
            continue
        regular = True
        if not name or not _UPPER.isdisjoint(name) or name in _OF_CONNECTIONS:
            raise Malformed("a header has a name that is not allowed")
        if name == b"te" and value != b"trailers":
            raise Malformed("te is not trailers")
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise Malformed("a header has a value that is not allowed")
        found[name] = found[name] + b"," + value if name in found else value
    if not (found.get(b":method") and found.get(b":scheme") and found.get(b":path")):
        raise Malformed("a pseudo-header is missing")
    return found


def block(pairs: Iterable[tuple[bytes, bytes]], status: int | None = None) -> bytes:
    """A header block that neither uses nor changes a dynamic table, so that it is good for every connection."""
    parts = [] if status is None else [_status(status)]
    parts += [b"\x00" + literal(name) + literal(value) for name, value in pairs]
    return b"".join(parts)


def literal(text: bytes) -> bytes:
    """A string behind its length, not compressed."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    prefix = bytearray((127,))
    length -= 127
    while length >= 128:
        prefix.append(length & 127 | 128)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + text


def _status(status: int) -> bytes:
    if status == 200:
        return STATUS_200
    return bytes((_STATUS_NAME,)) + literal(b"%d" % status)
