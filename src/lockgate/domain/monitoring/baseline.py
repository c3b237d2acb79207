"""What the training data looked like: the bins every later profile is counted on."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.components import DEGREES, Ints, block_starts
from lockgate.domain.monitoring.feature import (
    Feature,
    FeatureKind,
    as_numbers,
    category_feature,
    class_slots,
    number_feature,
    score_feature,
)
from lockgate.domain.monitoring.layout import Layout
from lockgate.domain.registry.manifest import Column, Kind, Signature

#: Names under which predictions are reported beside the inputs, with a star behind where an input has the name.
SCORE = "prediction"
LABEL = "predicted class"
#: Bins of a score; for a classifier uniform on [0, 1].
SCORE_BINS = 100
#: Most elements of one tensor column that are watched one by one.
MOST_ELEMENTS = 256

_MAGIC = b"LGBL\x01"
_MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Counts of the training data on bins made from it."""

    rows: int
    #: Inputs in the order of the signature; a tensor column gives one feature an element.
    features: tuple[Feature, ...]
    #: Predictions on the training data; None where none were given.
    score: Feature | None = None
    label: Feature | None = None
    #: Class names in the order of the score columns.
    classes: tuple[str, ...] = ()

    @property
    def watched(self) -> tuple[Feature, ...]:
        """Everything that is counted: inputs, then score, then class."""
        return self.features + tuple(found for found in (self.score, self.label) if found is not None)

    @cached_property
    def key(self) -> bytes:
        """Eight bytes that tell this baseline from any other; each profile counted on it carries them."""
        return hashlib.sha256(self._packed).digest()[:8]

    @cached_property
    def _packed(self) -> bytes:
        return msgspec.msgpack.encode(
            {
                "rows": self.rows,
                "features": [_pack(feature) for feature in self.features],
                "score": None if self.score is None else _pack(self.score),
                "label": None if self.label is None else _pack(self.label),
                "classes": self.classes,
            }
        )

    @cached_property
    def layout(self) -> Layout:
        """Where a profile on this baseline keeps each count."""
        return Layout(self.features, self.score, self.label, self.classes)

    def encode(self) -> bytes:
        """A stable binary form, some tens of kilobytes."""
        return _MAGIC + zlib.compress(self._packed, 6)


def build(
    columns: Mapping[str, NDArray[Any]],
    signature: Signature,
    scores: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    *,
    classes: Sequence[str] = (),
) -> Baseline:
    """Count the training data.

    Args:
        columns: one array a column of the signature, first axis rows, in the order they were collected when that is
            known; NaN or None where a value is missing. A column that is not given counts as missing throughout.
        scores: one axis: a regression's predictions, or a classifier's `leading_score`. Their rows need not be those
            of the columns: a model is surer of rows it learned from, so held-out rows foretell live scores better.
        labels: one axis: the predicted classes.
        classes: the class names of a classifier; empty for a regression.

    Raises:
        Invalid: columns of different lengths, or text in a column of numbers.
    """
    rows = _rows_of(columns)
    starts = block_starts(rows)
    features = [feature for column in signature.inputs for feature in _features(column, columns, rows, starts)]
    names = {feature.name for feature in features}
    score = label = None
    if scores is not None:
        values = as_numbers(np.asarray(scores).reshape(-1))
        blocks = block_starts(len(values))
        if classes:
            score = score_feature(_free(SCORE, names), values, blocks, bins=SCORE_BINS)
        else:
            score = number_feature(_free(SCORE, names), "", values, blocks, most_bins=SCORE_BINS)
    if classes and labels is not None:
        slots = class_slots(classes)
        named = [
            classes[slots[value]] if value in slots else str(value) for value in np.asarray(labels).reshape(-1).tolist()
        ]
        label = category_feature(_free(LABEL, names), "", named, block_starts(len(named)), known=classes)
    return Baseline(
        rows=rows,
        features=tuple(features),
        score=score,
        label=label,
        classes=tuple(classes),
    )


def decode(data: bytes) -> Baseline:
    """Read `Baseline.encode`; raises Invalid when the bytes are something else."""
    if not data.startswith(_MAGIC):
        raise Invalid("these bytes are not a baseline")
    try:
        unpacker = zlib.decompressobj()
        packed = unpacker.decompress(data[len(_MAGIC) :], _MOST_BYTES)
        if not unpacker.eof:
            raise Invalid("this baseline is cut off or too large")
        plain = msgspec.msgpack.decode(packed)
        return Baseline(
            rows=plain["rows"],
            features=tuple(_unpack(item) for item in plain["features"]),
            score=None if plain["score"] is None else _unpack(plain["score"]),
            label=None if plain["label"] is None else _unpack(plain["label"]),
            classes=tuple(plain["classes"]),
        )
    except (zlib.error, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Invalid("these bytes are not a whole baseline") from error


def leading_score(probabilities: NDArray[Any], positive: int | None) -> NDArray[Any]:
    """The one score a row that a classifier is watched by: the positive class's, or the largest without one.

    ``probabilities`` has shape (rows, classes); a single column is taken as it is.
    """
    if probabilities.ndim == 1:
        return probabilities
    if probabilities.shape[1] == 1:
        return probabilities[:, 0]
    return probabilities.max(axis=1) if positive is None else probabilities[:, positive]


def _free(name: str, taken: Set[str]) -> str:
    while name in taken:
        name += "*"
    return name


def _rows_of(columns: Mapping[str, NDArray[Any]]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = tuple(f"{name}: {length}" for name, length in lengths.items())
        raise Invalid("the columns of the baseline differ in length", problems=told)
    return next(iter(lengths.values()), 0)


def _features(column: Column, columns: Mapping[str, NDArray[Any]], rows: int, starts: Sequence[Ints]) -> list[Feature]:
    values = columns.get(column.name)
    elements = prod(column.shape)
    if column.kind in (Kind.TEXT, Kind.BOOLEAN):
        if column.shape:
            return [_unwatched(column, "it holds several texts or booleans a row")]
        plain = [None] * rows if values is None else np.asarray(values).reshape(rows).tolist()
        known = ("false", "true") if column.kind is Kind.BOOLEAN else ()
        if column.kind is Kind.BOOLEAN:
            plain = [None if value is None or value != value else bool(value) for value in plain]
        return [category_feature(column.name, column.name, plain, starts, known=known)]
    if elements > MOST_ELEMENTS or min(column.shape, default=1) < 0:
        return [_unwatched(column, f"it holds more than {MOST_ELEMENTS} numbers a row")]
    try:
        table = np.full((rows, elements), np.nan) if values is None else as_numbers(np.asarray(values))
    except ValueError as error:
        raise Invalid(f"column {column.name!r} should hold numbers: {error}") from error
    table = table.reshape(rows, elements)
    names = [column.name] if not column.shape else [f"{column.name}[{index}]" for index in range(elements)]
    return [
        number_feature(name, column.name, table[:, index], starts, element=index) for index, name in enumerate(names)
    ]


def _unwatched(column: Column, reason: str) -> Feature:
    return Feature(name=column.name, kind=FeatureKind.UNWATCHED, column=column.name, reason=reason)


_FLOATS = ("edges", "means", "swings")


def _pack(feature: Feature) -> dict[str, Any]:
    plain: dict[str, Any] = {name: getattr(feature, name) for name in Feature.__slots__}
    for name in _FLOATS:
        plain[name] = np.ascontiguousarray(plain[name], dtype="<f8").tobytes()
    plain["counts"] = feature.counts.astype("<i8").tobytes()
    plain["kind"] = feature.kind.value
    return plain


def _unpack(plain: dict[str, Any]) -> Feature:
    fields: dict[str, Any] = dict(plain)
    for name in _FLOATS:
        fields[name] = np.frombuffer(plain[name], dtype="<f8").astype(np.float64, copy=True)
    fields["swings"] = fields["swings"].reshape(-1, DEGREES + 1)
    fields["counts"] = np.frombuffer(plain["counts"], dtype="<i8").astype(np.int64, copy=True)
    fields["kind"] = FeatureKind(plain["kind"])
    fields["categories"] = tuple(plain["categories"])
    return Feature(**fields)
