"""Where each count of a profile lies in its one vector of whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log
from typing import Any

import numpy as np

from lockgate.domain.monitoring.components import Floats, Ints
from lockgate.domain.monitoring.cuts import Cuts
from lockgate.domain.monitoring.feature import Feature, FeatureKind, class_slots


class Failure(StrEnum):
    """Why a request was not answered with a prediction."""

    INVALID_INPUT = "invalid_input"
    MODEL_ERROR = "model_error"
    INVALID_OUTPUT = "invalid_output"
    TIMEOUT = "timeout"
    SHED = "shed"


FAILURES = tuple(Failure)
REQUESTS, ROWS, FOLDED = 0, 1, 2
FIRST_FAILURE = 3
FIRST_LATENCY = FIRST_FAILURE + len(FAILURES)

#: Latency bins: below 10 us, steps of 5 % up to 100 s, and above.
LATENCY_LEAST_US = 10.0
LATENCY_STEP = 1.05
LATENCY_BINS = ceil(log(1e7) / log(LATENCY_STEP)) + 2
FIRST_BIN = FIRST_LATENCY + LATENCY_BINS

#: Parts of a feature's scale in which the distance of a value from its bin's mean is added up, as a whole number:
#: whole numbers add up to the same in any order.
PARTS = 4096.0
#: The farthest distance that is added up for one row.
FARTHEST = float(2**31)
_MOST_PER_SCALE = float(np.finfo(np.float64).max)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where one feature's counts lie."""

    feature: Feature
    #: Which of the profile's missing counts is its own.
    missing: int
    #: First cell of its bins or slots, and how many.
    first: int
    size: int
    #: Numbers: first cell of its distances; and its counts below and above the baseline's support.
    distances: int = -1
    below: int = -1
    above: int = -1


class Layout:
    """Cells of all features of one baseline, and what folding needs, laid side by side."""

    def __init__(
        self, inputs: Sequence[Feature], score: Feature | None, label: Feature | None, classes: Sequence[str]
    ) -> None:
        features = [*inputs, *(found for found in (score, label) if found is not None)]
        watched = [feature for feature in features if feature.kind is not FeatureKind.UNWATCHED]
        numbers = [feature for feature in watched if feature.kind is FeatureKind.NUMBER]
        texts = [feature for feature in watched if feature.kind is FeatureKind.CATEGORY]
        sizes = [len(feature.counts) for feature in numbers]
        self.numbers, self.texts = numbers, texts
        #: Bins of all numbers together.
        self.bins = sum(sizes)
        #: First bin of each number, counted from FIRST_BIN; shape (numbers, 1).
        self.starts: Ints = np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(numbers), None]
        self.first_distance = FIRST_BIN + self.bins
        self.first_below = self.first_distance + self.bins
        self.first_above = self.first_below + len(numbers)
        #: Missing counts of the numbers, then of the categories.
        self.first_missing = self.first_above + len(numbers)
        self.first_slot = self.first_missing + len(watched)
        self.size = self.first_slot + sum(len(feature.counts) for feature in texts)
        #: Shape (numbers, most edges): each number's edges, then infinity, which no value exceeds.
        self.edges: Floats = np.full((len(numbers), max((size - 1 for size in sizes), default=0)), np.inf)
        for row, feature in enumerate(numbers):
            self.edges[row, : len(feature.edges)] = feature.edges
        self.means: Floats = np.concatenate([np.zeros(0), *(feature.means for feature in numbers)])
        # Finite, so that no distance is zero times infinity, however small a scale is.
        per_scale = [min(PARTS / feature.scale, _MOST_PER_SCALE) for feature in numbers]
        self.per_scale: Floats = np.array(per_scale).reshape(-1, 1)
        self.lows: Floats = np.array([[feature.low] for feature in numbers]).reshape(-1, 1)
        self.highs: Floats = np.array([[feature.high] for feature in numbers]).reshape(-1, 1)
        self.cuts = Cuts(numbers)
        #: Columns that are numbers, in a matrix of the baseline's inputs.
        self.inputs = [index for index, feature in enumerate(inputs) if feature.kind is FeatureKind.NUMBER]
        self.places = self._places()
        #: Of each category feature: its place, and the slot of each value.
        self.slots: list[tuple[Place, dict[Any, int]]] = []
        for feature in texts:
            slots: dict[Any, int] = {text: slot for slot, text in enumerate(feature.categories)}
            if feature is label:
                # A prediction may name its class by number.
                slots |= {value: slots[classes[index]] for value, index in class_slots(classes).items()}
            self.slots.append((self.places[feature.name], slots))

    def _places(self) -> dict[str, Place]:
        places: dict[str, Place] = {}
        for row, feature in enumerate(self.numbers):
            start = int(self.starts[row, 0])
            places[feature.name] = Place(
                feature=feature,
                missing=self.first_missing + row,
                first=FIRST_BIN + start,
                size=len(feature.counts),
                distances=self.first_distance + start,
                below=self.first_below + row,
                above=self.first_above + row,
            )
        cell = self.first_slot
        for row, feature in enumerate(self.texts, start=len(self.numbers)):
            places[feature.name] = Place(
                feature=feature, missing=self.first_missing + row, first=cell, size=len(feature.counts)
            )
            cell += len(feature.counts)
        return places
