"""Where sorted values are cut, so that what lies between two cuts shares a bin and a side of the support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.domain.monitoring.components import Floats, Ints
from lockgate.domain.monitoring.feature import Feature


class Cuts:
    """The cuts of all numbers of a baseline, one feature after the other.

    Segment ``i`` holds the values above the key before it and up to ``keys[i]``. A feature's segments are: below its
    support, the rest of its bins in their order, above its support, missing.
    """

    def __init__(self, numbers: Sequence[Feature]) -> None:
        #: Of each number: shape (edges + 4,), the last two infinity and NaN, which sorts behind everything.
        self.keys: list[Floats] = [_keys(feature) for feature in numbers]
        #: The same for float32 values, which need not become float64 then.
        self.narrow: list[NDArray[np.float32]] = [_rounded_down(keys) for keys in self.keys]
        sizes = np.array([len(keys) for keys in self.keys], dtype=np.int64)
        #: The number that each segment belongs to; shape (segments,).
        self.owner: Ints = np.repeat(np.arange(len(numbers)), sizes)
        #: Segments of each number, shape (numbers,).
        self.missing: Ints = np.cumsum(sizes) - 1
        self.above: Ints = self.missing - 1
        self.below: Ints = self.missing - sizes + 1
        #: The segment of each bin but for what is outside the support; shape (bins,).
        inside = np.ones(int(sizes.sum()), dtype=np.bool_)
        inside[np.concatenate([self.below, self.above, self.missing])] = False
        self._inside: Ints = inside.nonzero()[0]
        self._last: Ints = np.cumsum(sizes - 3) - 1
        self._first: Ints = self._last - sizes + 4
        #: The mean of the bin that each segment lies in; shape (segments,).
        self.means: Floats = np.concatenate(
            [np.zeros(0), *([feature.means[0], *feature.means, feature.means[-1], 0.0] for feature in numbers)]
        )
        #: Whether a value can lie below the support at all; the key of such a support holds negative infinity itself.
        self.bounded: NDArray[np.bool_] = np.array([feature.low > -np.inf for feature in numbers], dtype=np.bool_)

    def by_bin(self, segments: NDArray[Any]) -> NDArray[Any]:
        """Add up what lies in each bin; from shape (segments,) to (bins,)."""
        found = segments[self._inside]
        found[self._first] += segments[self.below]
        found[self._last] += segments[self.above]
        return found


def _keys(feature: Feature) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        below = np.nextafter(feature.low, -np.inf)
    return np.array([below, *feature.edges, feature.high, np.inf, np.nan])


def _rounded_down(keys: Floats) -> NDArray[np.float32]:
    """The largest float32 up to each key: float32 values lie above that one just when they lie above the key."""
    with np.errstate(over="ignore", under="ignore"):
        near = keys.astype(np.float32)
        return np.where(near > keys, np.nextafter(near, np.float32(-np.inf)), near)
