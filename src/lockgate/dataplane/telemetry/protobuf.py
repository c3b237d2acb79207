"""A scrape in Prometheus' protobuf form, the one that has native histograms.

The few messages of ``io.prometheus.client`` that are needed are written field by field: generating code from its
proto file would bring that file along and save nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from lockgate.dataplane.telemetry.distribution import SCHEMA, ZERO, Distribution
from lockgate.dataplane.telemetry.snapshot import Family, Kept, Labels, Value

_TYPES = {"counter": 0, "gauge": 1, "histogram": 4}


def delimited(kept: Kept, rested: Callable[[list[tuple[Labels, Value]]], Iterable[tuple[Labels, Value]]]) -> bytes:
    """A MetricFamily with its length before it; ``rested`` gives the series as fast as they are to be written."""
    family = kept.family
    message = b"".join(
        (
            _text(1, family.name),
            _text(2, family.told),
            _whole(3, _TYPES[family.kind]),
            *(
                _bytes(4, _metric(family, labels, value))
                for labels, value in rested(sorted(kept.series.items(), key=_first))
            ),
            _text(5, family.unit) if family.unit else b"",
        )
    )
    return _varint(len(message)) + message


def _first(item: tuple[Labels, Value]) -> Labels:
    return item[0]


def _metric(family: Family, labels: Labels, value: Value) -> bytes:
    pairs = b"".join(
        _bytes(1, _text(1, name) + _text(2, label)) for name, label in zip(family.labels, labels, strict=True)
    )
    if isinstance(value, Distribution):
        return pairs + _bytes(7, _histogram(value))
    return pairs + _bytes(2 if family.kind == "gauge" else 3, _double(1, value))


def _histogram(value: Distribution) -> bytes:
    running, parts = 0, list[bytes]()
    # The last one, without a bound, is the count itself.
    for bound, count in zip(value.bounds, value.buckets, strict=False):
        running += count
        parts.append(_bytes(3, _whole(1, running) + _bound(bound)))
    spans, deltas = _sparse(sorted(value.native.items()))
    return b"".join(
        (
            _whole(1, value.count),
            _double(2, value.sum),
            *parts,
            _whole(5, _zigzag(SCHEMA)),
            _double(6, ZERO),
            _whole(7, value.zeros),
            *(_bytes(12, _whole(1, _zigzag(offset)) + _whole(2, length)) for offset, length in spans),
            *(_whole(13, _zigzag(delta)) for delta in deltas),
        )
    )


def _sparse(cells: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], Iterator[int]]:
    """Spans of neighbouring buckets, each with its distance from the end of the one before; and the counts' steps."""
    spans: list[tuple[int, int]] = []
    following = 0
    for at, _ in cells:
        if spans and at == following:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((at - following, 1))
        following = at + 1
    # Without any span it could not be told from a classic histogram.
    return spans or [(0, 0)], _steps(count for _, count in cells)


def _steps(counts: Iterable[int]) -> Iterator[int]:
    before = 0
    for count in counts:
        yield count - before
        before = count


@cache
def _bound(bound: float) -> bytes:
    return _double(2, bound)


def _varint(number: int) -> bytes:
    if number < len(_SMALL):
        return _SMALL[number]
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


#: Fields and most lengths are small.
_SMALL = tuple(bytes((number,)) for number in range(128))


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _whole(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
