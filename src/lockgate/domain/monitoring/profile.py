"""Counts of what a version was asked and answered. Profiles of one baseline add up, in any order.

A profile is one vector of int64. Only `Profile.fold` and `Profile.count` change it in place, for the gateway's sake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring import layout as at
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.binning import MANY_ROWS, Values, count_each, count_sorted
from lockgate.domain.monitoring.cells import pack, unpack
from lockgate.domain.monitoring.components import Floats, Ints
from lockgate.domain.monitoring.feature import FeatureKind, as_numbers, as_text
from lockgate.domain.monitoring.layout import FAILURES, Failure, Layout, Place

_LOG_STEP = log(at.LATENCY_STEP)


class Profile:
    """Counts of one minute or many, on the bins of one baseline."""

    __slots__ = ("baseline", "cells", "layout")

    def __init__(self, baseline: Baseline, layout: Layout, cells: Ints) -> None:
        self.baseline = baseline
        self.layout = layout
        self.cells = cells

    @classmethod
    def empty(cls, baseline: Baseline) -> Profile:
        """Nothing counted yet."""
        layout = baseline.layout
        return cls(baseline, layout, np.zeros(layout.size, dtype=np.int64))

    def fold(
        self,
        columns: Mapping[str, NDArray[Any]] | NDArray[Any],
        scores: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
    ) -> None:
        """Count rows that were answered.

        Args:
            columns: one array a column of the signature, first axis rows; a column that is not given counts as
                missing. Or a matrix of shape (rows, features) in the order of the signature.
            scores: shape (rows,): predictions of a regression, or `baseline.leading_score`.
            labels: shape (rows,): predicted classes, as names or numbers.
        """
        if isinstance(columns, np.ndarray):
            width = len(self.baseline.features)
            if columns.ndim != 2 or columns.shape[1] != width:
                raise Invalid(f"a matrix of shape (rows, {width}) was expected, not {columns.shape}")
        rows = _rows_of([columns] if isinstance(columns, np.ndarray) else columns.values(), scores, labels)
        if rows == 0:
            return
        self.cells[at.FOLDED] += rows
        self._fold_numbers(columns, scores, rows)
        self._fold_texts(columns, labels, rows)

    def count(
        self,
        *,
        requests: int = 0,
        rows: int = 0,
        errors: Mapping[str, int] | None = None,
        latencies_us: NDArray[Any] | Iterable[float] = (),
    ) -> None:
        """Count requests, the rows they asked for, failures by kind (`Failure`) and how long answers took."""
        self.cells[at.REQUESTS] += requests
        self.cells[at.ROWS] += rows
        for kind, times in (errors or {}).items():
            self.cells[at.FIRST_FAILURE + FAILURES.index(Failure(kind))] += times
        taken = np.asarray(
            latencies_us if isinstance(latencies_us, np.ndarray) else list(latencies_us), dtype=np.float64
        )
        if len(taken):
            steps = np.ceil(np.log(np.maximum(taken, 1e-3) / at.LATENCY_LEAST_US) / _LOG_STEP)
            bins = np.clip(steps, 0, at.LATENCY_BINS - 1).astype(np.int64)
            self.latencies += np.bincount(bins, minlength=at.LATENCY_BINS)

    def merge(self, other: Profile) -> Profile:
        """The sum of two profiles; raises Invalid when they are counted on different baselines."""
        if self.baseline.key != other.baseline.key:
            raise Invalid("profiles of different baselines cannot be added up")
        return Profile(self.baseline, self.layout, self.cells + other.cells)

    def encode(self) -> bytes:
        """A few kilobytes."""
        return pack(self.baseline.key, self.cells)

    @classmethod
    def decode(cls, data: bytes, baseline: Baseline) -> Profile:
        """Read `encode`; raises Invalid when the bytes are damaged or counted on another baseline."""
        key, cells = unpack(data)
        layout = baseline.layout
        if key != baseline.key or len(cells) != layout.size:
            raise Invalid("this profile was counted on another baseline")
        return cls(baseline, layout, cells)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return self.baseline.key == other.baseline.key and np.array_equal(self.cells, other.cells)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self.cells.any())

    @property
    def requests(self) -> int:
        return int(self.cells[at.REQUESTS])

    @property
    def rows(self) -> int:
        """Rows asked for, answered or not."""
        return int(self.cells[at.ROWS])

    @property
    def folded(self) -> int:
        """Rows answered, whose values are in the histograms."""
        return int(self.cells[at.FOLDED])

    @property
    def errors(self) -> dict[Failure, int]:
        """Failed requests by kind."""
        return {kind: int(self.cells[at.FIRST_FAILURE + index]) for index, kind in enumerate(FAILURES)}

    def error_share(self, *kinds: Failure) -> float | None:
        """Share of the requests that failed in these ways, model errors and timeouts when none is named; None without
        requests."""
        if self.requests == 0:
            return None
        errors = self.errors
        return sum(errors[kind] for kind in kinds or (Failure.MODEL_ERROR, Failure.TIMEOUT)) / self.requests

    @property
    def latencies(self) -> Ints:
        """Requests in each latency bin, shape (LATENCY_BINS,); a view."""
        return self.cells[at.FIRST_LATENCY : at.FIRST_BIN]

    @latencies.setter
    def latencies(self, counts: Ints) -> None:
        self.cells[at.FIRST_LATENCY : at.FIRST_BIN] = counts

    def quantile(self, q: float) -> float | None:
        """Microseconds that a share ``q`` of the requests stayed within, exact to about 5 %; None without any."""
        total = int(self.latencies.sum())
        if total == 0:
            return None
        index = int(np.searchsorted(np.cumsum(self.latencies), max(q * total, 1.0)))
        return at.LATENCY_LEAST_US * at.LATENCY_STEP**index

    def slower_than(self, microseconds: float) -> int:
        """Requests in latency bins that lie wholly above a latency."""
        bin_of = int(np.ceil(log(max(microseconds, 1e-3) / at.LATENCY_LEAST_US) / _LOG_STEP - 1e-9))
        return int(self.latencies[max(bin_of, 0) + 1 :].sum())

    def place(self, feature: str) -> Place:
        """Where a feature lies; raises Invalid for one that is not counted."""
        place = self.layout.places.get(feature)
        if place is None:
            raise Invalid(f"{feature!r} is not a watched feature")
        return place

    def histogram(self, feature: str) -> Ints:
        """Rows in each bin, or in each category and the slot of all others."""
        place = self.place(feature)
        return self.cells[place.first : place.first + place.size]

    def missing(self, feature: str) -> int:
        """Rows without a value."""
        return int(self.cells[self.place(feature).missing])

    def missing_share(self, feature: str) -> float | None:
        """Share of the rows without a value; None without rows."""
        rows = self.missing(feature) + int(self.histogram(feature).sum())
        return self.missing(feature) / rows if rows else None

    def outside(self, feature: str) -> tuple[int, int]:
        """Rows below and above everything seen in training; (0, 0) for categories."""
        place = self.place(feature)
        if place.below < 0:
            return 0, 0
        return int(self.cells[place.below]), int(self.cells[place.above])

    def unseen(self, feature: str) -> int:
        """Rows with a category that training never held; 0 for numbers."""
        place = self.place(feature)
        if place.feature.kind is not FeatureKind.CATEGORY:
            return 0
        return int(self.histogram(feature)[place.feature.counts == 0].sum())

    def bin_means(self, feature: str) -> Floats:
        """Mean of the rows in each bin of a number; the baseline's own where no row is."""
        place = self.place(feature)
        held = np.maximum(self.histogram(feature), 1)
        distances = self.cells[place.distances : place.distances + place.size]
        return place.feature.means + distances / held * (place.feature.scale / at.PARTS)

    def mean(self, feature: str) -> float | None:
        """Mean of a number; None without rows or for categories."""
        counts = self.histogram(feature)
        total = int(counts.sum())
        if total == 0 or self.place(feature).feature.kind is not FeatureKind.NUMBER:
            return None
        return float((counts / total) @ self.bin_means(feature))

    def _by_name(self, table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {feature.name: table[:, index] for index, feature in enumerate(self.baseline.features)}

    def _fold_numbers(
        self, columns: Mapping[str, NDArray[Any]] | NDArray[Any], scores: NDArray[Any] | None, rows: int
    ) -> None:
        if self.layout.numbers:
            values = self._numbers(columns, scores, rows)
            (count_sorted if rows >= MANY_ROWS else count_each)(self.cells, self.layout, values)

    def _numbers(
        self, columns: Mapping[str, NDArray[Any]] | NDArray[Any], scores: NDArray[Any] | None, rows: int
    ) -> Values:
        """All numbers as the layout has them, shape (numbers, rows)."""
        layout, score = self.layout, self.baseline.score
        if isinstance(columns, np.ndarray):
            table = _floats(columns)
            predicted = None if scores is None else _element(scores, rows, 0)
            values = _room(len(layout.numbers), rows, [table, predicted])
            width = len(layout.inputs)
            values[:width] = table.T if width == table.shape[1] else table.T[layout.inputs]
            # The score comes after the inputs, if there is one.
            values[width:] = np.nan if predicted is None else predicted
            return values
        found: list[NDArray[Any] | None] = []
        for feature in layout.numbers:
            given = scores if feature is score else _column(columns, feature.column, feature.name)
            found.append(None if given is None else _element(given, rows, feature.element))
        values = _room(len(found), rows, found)
        for row, column in enumerate(found):
            values[row] = np.nan if column is None else column
        return values

    def _fold_texts(
        self, columns: Mapping[str, NDArray[Any]] | NDArray[Any], labels: NDArray[Any] | None, rows: int
    ) -> None:
        if not self.layout.slots:
            return
        by_name = self._by_name(columns) if isinstance(columns, np.ndarray) else columns
        for place, slots in self.layout.slots:
            feature = place.feature
            found = labels if feature is self.baseline.label else _column(by_name, feature.column, feature.name)
            if found is None:
                self.cells[place.missing] += rows
                continue
            other = len(feature.categories)
            for value, times in _tallied(found.reshape(rows)):
                slot = slots.get(value, -1)
                if slot < 0:
                    text = as_text(value)
                    if text is None:
                        self.cells[place.missing] += times
                        continue
                    slot = slots.get(text, other)
                self.cells[place.first + slot] += times


def merge_all(profiles: Iterable[Profile], baseline: Baseline) -> Profile:
    """The sum of any number of profiles; none at all is the empty one.

    Raises:
        Invalid: one of them is counted on another baseline.
    """
    total = Profile.empty(baseline)
    for profile in profiles:
        if profile.baseline.key != baseline.key:
            raise Invalid("profiles of different baselines cannot be added up")
        total.cells += profile.cells
    return total


def _column(columns: Mapping[str, NDArray[Any]], column: str, name: str) -> NDArray[Any] | None:
    found = columns.get(column)
    return columns.get(name) if found is None else found


def _floats(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.dtype == np.float32 else as_numbers(values)


def _element(values: NDArray[Any], rows: int, element: int) -> NDArray[Any]:
    """The one number a row that a column holds, or one of several; shape (rows,)."""
    numbers = _floats(values)
    return numbers.reshape(rows) if numbers.size == rows else numbers.reshape(rows, -1)[:, element]


def _room(numbers: int, rows: int, given: Iterable[NDArray[Any] | None]) -> Values:
    """Where to put what is given: float32 where that loses nothing and is worth it, for it sorts in half the time."""
    narrow = rows >= MANY_ROWS and all(values is None or values.dtype == np.float32 for values in given)
    return np.empty((numbers, rows), dtype=np.float32 if narrow else np.float64)


def _tallied(values: NDArray[Any]) -> Iterable[tuple[Any, int]]:
    """Each value and how often it is there; maybe several times."""
    plain = values.tolist()
    counted = Counter(plain)
    # Equal values of one type are one category; of two types they may be two: True equals 1. A text equals texts alone.
    if all(type(value) is str for value in counted) or len(set(map(type, plain)) - {type(None)}) == 1:
        return counted.items()
    return ((value, 1) for value in plain)


def _rows_of(columns: Iterable[NDArray[Any]], scores: NDArray[Any] | None, labels: NDArray[Any] | None) -> int:
    lengths = {len(values) for values in columns}
    lengths |= {len(values) for values in (scores, labels) if values is not None}
    if len(lengths) > 1:
        raise Invalid("columns, scores and labels differ in length")
    return next(iter(lengths), 0)
