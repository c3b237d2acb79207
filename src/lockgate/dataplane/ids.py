"""Prediction ids: 26 characters that sort by time and never meet another gateway's."""

from __future__ import annotations

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: Every pair of digits, so that a number is written ten bits at a time.
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


class PredictionIds:
    """48 bits of milliseconds, 40 bits that are this process's own, 40 bits of counting."""

    def __init__(self, own: int) -> None:
        self._own = _base32(own & ((1 << 40) - 1), 8)
        self._count = 0
        self._at = -1
        self._head = ""

    def new(self, now_ms: int) -> str:
        """The next id. Ids of one process sort in the order they were made while the clock does not step back."""
        if now_ms != self._at:
            self._at = now_ms
            self._head = _base32(now_ms, 10) + self._own
        self._count = count = (self._count + 1) & 0xFFFFFFFFFF
        pairs = _PAIRS
        return (
            self._head
            + pairs[count >> 30]
            + pairs[(count >> 20) & 1023]
            + pairs[(count >> 10) & 1023]
            + pairs[count & 1023]
        )


def _base32(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
