"""Names for new records: a kind, a time that sorts, and enough chance that no two meet."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Protocol

from lockgate.base.errors import Invalid

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = frozenset(_ALPHABET)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ids(Protocol):
    """Knows how to name a new record."""

    def new(self, kind: str, at: datetime) -> str:
        """A fresh id such as ``promo_01j9...``, later ids sorting after earlier ones."""
        ...


class RandomIds:
    """Ids from the operating system's randomness: 48 bits of milliseconds, 80 bits of chance."""

    def new(self, kind: str, at: datetime) -> str:
        number = (int(at.timestamp() * 1000) << 80) | secrets.randbits(80)
        return f"{kind}_{_base32(number, 26)}"


def moment_of(digits: str) -> datetime:
    """The time that the 26 digits of an id begin with, to the millisecond.

    Raises:
        Invalid: these are not the digits of an id.
    """
    if len(digits) != 26 or not set(digits) <= _DIGITS:
        raise Invalid(f"{digits[:40]!r} is not an id of 26 digits")
    number = 0
    for digit in digits:
        number = number * 32 + _ALPHABET.index(digit)
    since = number >> 80
    if since >= 1 << 48:
        raise Invalid(f"{digits!r} begins with no time")
    return _EPOCH + timedelta(milliseconds=since)


def _base32(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
