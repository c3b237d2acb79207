"""Rows like those of training, drawn from its baseline: no row that somebody once had has to be kept for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lockgate.dataplane.compiled import neutral_rows
from lockgate.dataplane.intake import Inputs, Intake
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.feature import Feature, FeatureKind
from lockgate.domain.registry.manifest import Column, Kind


def background(intake: Intake, baseline: Baseline, rows: int, seed: int = 0) -> Inputs:
    """Some rows, each value drawn by itself from what training held of its column; same seed, same rows.

    A package without a baseline gives rows from within the ranges of its signature.
    """
    chance = np.random.default_rng(seed)
    if not baseline.rows:
        return neutral_rows(intake, rows, chance)
    known: dict[str, list[Feature]] = {}
    for feature in baseline.features:
        known.setdefault(feature.column, []).append(feature)
    plain = neutral_rows(intake, rows, np.random.default_rng(seed))
    neutral = intake.watched(plain)
    given: dict[str, Any] = {}
    for column, width in zip(intake.columns, intake.widths, strict=True):
        features = known.get(column.name, [])
        if len(features) == width and all(feature.kind is not FeatureKind.UNWATCHED for feature in features):
            drawn = [_drawn(column, feature, rows, chance) for feature in features]
            given[column.name] = [values[row] for row in range(rows) for values in drawn]
        else:
            given[column.name] = neutral[column.name].ravel().tolist()
    return intake.from_columns(given, rows)


def _drawn(column: Column, feature: Feature, rows: int, chance: np.random.Generator) -> list[Any]:
    values = (
        _categories(column, feature, rows, chance) if feature.categories else _numbers(column, feature, rows, chance)
    )
    if column.optional and feature.missing:
        absent = chance.random(rows) < feature.missing / feature.rows
        values = [None if gone else value for value, gone in zip(values, absent.tolist(), strict=True)]
    return values


def _categories(column: Column, feature: Feature, rows: int, chance: np.random.Generator) -> list[Any]:
    # The last slot holds all values that are not listed, and none of them is known.
    counts = feature.counts[: len(feature.categories)].astype(np.float64)
    share = counts / counts.sum() if counts.sum() else None
    places = chance.choice(len(feature.categories), rows, p=share)
    names = [feature.categories[place] for place in places.tolist()]
    return [name == "true" for name in names] if column.kind is Kind.BOOLEAN else names


def _numbers(column: Column, feature: Feature, rows: int, chance: np.random.Generator) -> list[Any]:
    counts = feature.counts.astype(np.float64)
    edges = np.concatenate(([feature.low], feature.edges, [feature.high]))
    if not counts.sum() or len(edges) != len(counts) + 1:
        return [0 if column.kind is Kind.INTEGER else 0.0] * rows
    places = chance.choice(len(counts), rows, p=counts / counts.sum())
    low, high = edges[places], edges[places + 1]
    found = np.clip(low + (high - low) * chance.random(rows), feature.low, feature.high)
    if column.kind is not Kind.INTEGER:
        return found.tolist()
    # Ends have a little slack, so a whole number is looked for within them.
    return [min(max(round(value), math.ceil(feature.low)), math.floor(feature.high)) for value in found.tolist()]
