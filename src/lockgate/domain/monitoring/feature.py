"""One watched column of the baseline: its bins or categories, and what training held in each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.domain.monitoring.components import DEGREES, Floats, Ints, category_swings, swings

#: Most bins of a number, and most categories listed.
MOST_BINS = 128
MOST_CATEGORIES = 256


class FeatureKind(StrEnum):
    """How a feature is counted."""

    NUMBER = "number"
    CATEGORY = "category"
    UNWATCHED = "unwatched"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Feature:
    """What training held of one column, or of one element of a tensor column."""

    name: str
    kind: FeatureKind
    #: The input it is read from, and which element of it, for a column that is a tensor.
    column: str
    element: int = 0
    #: Numbers: bin ``i`` holds ``edges[i-1] < x <= edges[i]``; shape (bins - 1,), and the mean of each bin, (bins,).
    edges: Floats = field(default_factory=lambda: np.zeros(0))
    means: Floats = field(default_factory=lambda: np.zeros(0))
    #: Outside low to high nothing was seen in training; one float32 step of slack, since rows may come rounded.
    low: float = 0.0
    high: float = 0.0
    #: Standard deviation in training, or a stand-in above zero where the column is constant.
    scale: float = 1.0
    #: Categories in the order of their counts; one more slot holds every other value.
    categories: tuple[str, ...] = ()
    #: Training held more categories than are listed, so another value is not news.
    open: bool = False
    #: Categories that training held once: they tell how many it never met.
    singletons: int = 0
    #: Rows of training in each bin or slot; int64, (bins,) or (categories + 1,).
    counts: Ints = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    missing: int = 0
    #: How many times the variance of independent rows its blocks show; (levels, DEGREES + 1).
    swings: Floats = field(default_factory=lambda: np.zeros((0, DEGREES + 1)))
    #: Why it is not watched.
    reason: str = ""

    @property
    def rows(self) -> int:
        """Rows of training, with a value or without."""
        return int(self.counts.sum()) + self.missing

    @property
    def present(self) -> int:
        """Rows of training that had a value."""
        return int(self.counts.sum())


def number_feature(
    name: str, column: str, values: Floats, starts: Sequence[Ints], *, element: int = 0, most_bins: int = MOST_BINS
) -> Feature:
    """Cut a number into bins that hold about equally many rows. ``values`` has shape (rows,), NaN where missing."""
    seen = np.sort(values[np.isfinite(values)])
    edges = quantile_edges(seen, most_bins)
    low, high = _support(seen)
    return _counted(name, column, element, values, edges, low, high, starts)


def score_feature(name: str, values: Floats, starts: Sequence[Ints], *, bins: int) -> Feature:
    """A probability, on uniform bins between 0 and 1, so that any two models' scores can be compared."""
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return _counted(name, "", 0, values, edges, 0.0, 1.0, starts)


def category_feature(
    name: str, column: str, values: Sequence[object], starts: Sequence[Ints], known: Sequence[str] = ()
) -> Feature:
    """Count the values of a text or boolean column; ``known`` lists what may come although no row has it."""
    texts = [as_text(value) for value in values]
    tally: dict[str, int] = dict.fromkeys(known, 0)
    for text in texts:
        if text is not None:
            tally[text] = tally.get(text, 0) + 1
    ranked = sorted(tally, key=lambda text: (-tally[text], text))
    listed = tuple(ranked[:MOST_CATEGORIES])
    other = sum(tally[text] for text in ranked[MOST_CATEGORIES:])
    slots = {text: slot for slot, text in enumerate(listed)}
    bins = np.array([-1 if text is None else slots.get(text, len(listed)) for text in texts], dtype=np.int64)
    counts = np.array([*(tally[text] for text in listed), other], dtype=np.int64)
    return Feature(
        name=name,
        kind=FeatureKind.CATEGORY,
        column=column,
        categories=listed,
        open=other > 0,
        singletons=sum(1 for count in tally.values() if count == 1),
        counts=counts,
        missing=int(np.count_nonzero(bins < 0)),
        swings=category_swings(bins, counts, starts),
    )


def quantile_edges(seen: Floats, most_bins: int) -> Floats:
    """Interior edges between sorted, finite values: each of few values has a bin of its own, many share quantiles.

    An edge lies half way between two values, so a value that comes back a little rounded stays in its bin.
    """
    if len(seen) == 0:
        return np.zeros(0)
    values = seen[np.append(True, seen[1:] != seen[:-1])]
    if len(values) > most_bins:
        places = np.arange(1, most_bins) * len(seen) // most_bins
        cuts = np.searchsorted(values, seen[np.maximum(places - 1, 0)])
        cuts = np.unique(cuts[cuts < len(values) - 1])
    else:
        cuts = np.arange(len(values) - 1)
    below, above = values[cuts], values[cuts + 1]
    half = below / 2 + above / 2
    return np.where((half >= below) & (half < above), half, below)


def as_numbers(values: NDArray[Any]) -> Floats:
    """Any array as float64, NaN where an element is null."""
    if values.dtype.kind in "fiub":
        return values.astype(np.float64, copy=False)
    plain: Iterable[Any] = values.ravel().tolist()
    return np.array([np.nan if value is None else float(value) for value in plain], dtype=np.float64).reshape(
        values.shape
    )


def as_text(value: object) -> str | None:
    """A category as it is listed; None where it is null."""
    if isinstance(value, str):
        return str(value)
    if value is None or value != value:  # NaN alone differs from itself
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return str(value)


def class_slots(classes: Sequence[str]) -> dict[Any, int]:
    """Where each class is, found by its name or, for ``"1"``, by the number too."""
    slots: dict[Any, int] = {}
    for slot, name in enumerate(classes):
        slots[name] = slot
        try:
            slots.setdefault(float(name), slot)
        except ValueError:
            continue
    return slots


def _counted(
    name: str, column: str, element: int, values: Floats, edges: Floats, low: float, high: float, starts: Sequence[Ints]
) -> Feature:
    missing = np.isnan(values)
    bins = np.where(missing, -1, np.searchsorted(edges, values)).astype(np.int64)
    held = bins[~missing]
    counts = np.bincount(held, minlength=len(edges) + 1).astype(np.int64)
    finite = np.isfinite(values)
    # Divide before adding up, so that the sum of huge values does not overflow.
    weights = values[finite] / np.maximum(counts[bins[finite]], 1)
    means = np.bincount(bins[finite], weights=weights, minlength=len(edges) + 1)
    return Feature(
        name=name,
        kind=FeatureKind.NUMBER,
        column=column,
        element=element,
        edges=edges,
        means=means.astype(np.float64),
        low=low,
        high=high,
        scale=_spread(values[finite]),
        counts=counts,
        missing=int(np.count_nonzero(missing)),
        swings=swings(bins, counts, starts),
    )


def _spread(seen: Floats) -> float:
    largest = float(np.abs(seen).max()) if len(seen) else 0.0
    if largest == 0.0:
        return 1.0
    spread = float(np.std(seen / largest))
    # A share of the smallest number there is rounds to zero.
    return (spread if spread > 1e-12 else 1.0) * largest or largest


def _support(seen: Floats) -> tuple[float, float]:
    if len(seen) == 0:
        return 0.0, 0.0
    with np.errstate(over="ignore"):
        below = np.nextafter(np.float32(seen[0]), np.float32(-np.inf))
        above = np.nextafter(np.float32(seen[-1]), np.float32(np.inf))
    return min(float(below), float(seen[0])), max(float(above), float(seen[-1]))
