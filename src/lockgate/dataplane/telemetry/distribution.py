"""How often which values came: classic buckets for every Prometheus, and native ones for those that take them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Upper bounds of durations in seconds. Every limit that people promise is one of them, so that the share of requests
#: within it is counted and not interpolated.
SECONDS = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.025, 0.05, 0.1),
    *(0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0),
)
#: Upper bounds of sizes.
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)

#: Each power of two has 2 ** SCHEMA native buckets: bounds 9 % apart.
SCHEMA = 3
_PER_POWER = 1 << SCHEMA
#: What is no larger than this counts as nothing in native buckets.
ZERO = 2.0**-128


class Distribution(msgspec.Struct):
    """Counts of values of which all are 0 or more."""

    bounds: tuple[float, ...]
    #: One more than bounds, each the count of its own bucket alone.
    buckets: list[int]
    #: Native buckets: bucket i holds what is above 2 ** ((i - 1) / 8), up to 2 ** (i / 8).
    native: dict[int, int] = {}
    zeros: int = 0
    sum: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> Distribution:
        """Nothing counted yet."""
        return cls(bounds, [0] * (len(bounds) + 1))

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.buckets)

    def observe(self, values: NDArray[Any]) -> None:
        """Count values, shape (n,)."""
        if not len(values):
            return
        places = np.searchsorted(self.bounds, values)
        for at, more in _counted(places.astype(np.int64)):
            self.buckets[at] += more
        above = values[values > ZERO]
        self.zeros += len(values) - len(above)
        native = self.native
        for at, more in _counted(np.ceil(np.log2(above) * _PER_POWER).astype(np.int64)):
            native[at] = native.get(at, 0) + more
        self.sum += float(values.sum())

    def plus(self, other: Distribution) -> Distribution:
        """Both together; the other one's alone where the two have different bounds."""
        if self.bounds != other.bounds:
            return other
        native = dict(self.native)
        for at, more in other.native.items():
            native[at] = native.get(at, 0) + more
        buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        return Distribution(self.bounds, buckets, native, self.zeros + other.zeros, self.sum + other.sum)


def _counted(places: NDArray[np.int64]) -> list[tuple[int, int]]:
    if not len(places):
        return []
    least = int(places.min())
    # All the places there are lie close together, so counting them needs no sorting.
    counts = np.bincount(places - least)
    found = np.flatnonzero(counts)
    return list(zip((found + least).tolist(), counts[found].tolist(), strict=True))
