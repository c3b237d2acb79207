"""The written form of a token: a prefix machines can scan for, chance, and a checksum.

``lg_`` + 28 base62 digits (166 bits) + 6 base62 digits of the CRC-32 of what stands before them. The checksum lets a
secret scanner, or our own edge, tell a token from a look-alike without asking the store.
"""

from __future__ import annotations

import hashlib
import zlib

from lockgate.base.errors import Invalid

PREFIX = "lg_"
#: How many random bytes `make` wants: 21 bytes are 168 bits, of which 166 show in the digits.
RANDOM_BYTES = 21

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHANCE = 28
_CHECK = 6
_LENGTH = len(PREFIX) + _CHANCE + _CHECK


def make(chance: bytes) -> str:
    """The token text for some random bytes.

    Raises:
        Invalid: `chance` is shorter than `RANDOM_BYTES`.
    """
    if len(chance) < RANDOM_BYTES:
        raise Invalid(f"a token needs {RANDOM_BYTES} random bytes, not {len(chance)}")
    body = PREFIX + _base62(int.from_bytes(chance), _CHANCE)
    return body + _checksum(body)


def is_token(text: str) -> bool:
    """Whether the text has the form of a token and its checksum holds; says nothing about who may use it."""
    if len(text) != _LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return False
    return text[-_CHECK:] == _checksum(text[:-_CHECK])


def hash_of(text: str) -> str:
    """What is kept instead of the token: SHA-256 of its text, in hex. A slow hash would add nothing to 166 bits."""
    return hashlib.sha256(text.encode()).hexdigest()


def hint_of(text: str) -> str:
    """Its first characters, enough to tell tokens apart and far too few to guess the rest."""
    return text[: len(PREFIX) + 6]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK)


def _base62(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
