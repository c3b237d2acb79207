"""Whether a graph answers like the model it came from, on real rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.packages.answers import Answer, Floats
from lockgate.base.errors import Invalid
from lockgate.domain.registry.manifest import Column, Kind

#: How far two scores may lie apart, absolutely and as a share of the original's.
TOLERANCE = 1e-5
#: Most rows of each table that are compared.
MOST_ROWS = 10_000
#: A text that no training data holds.
_UNSEEN = "\u2205 never seen"
#: Rows of each kind of odd input that are added.
_ODD = 20

Answers = Callable[[pd.DataFrame], Answer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How two models compared."""

    rows: int
    largest_difference: float
    #: Ties within the tolerance aside.
    labels_equal: bool
    agrees: bool
    sentence: str


def real_rows(frames: list[pd.DataFrame], inputs: tuple[Column, ...], *, seed: int) -> pd.DataFrame:
    """Rows to compare on: a sample of each table, rows with gaps, and categories never seen; same seed, same rows."""
    rng = np.random.default_rng(seed)
    parts: list[pd.DataFrame] = []
    for frame in frames:
        some: Any = frame
        if len(frame) > MOST_ROWS:
            some = frame.iloc[np.sort(rng.choice(len(frame), MOST_ROWS, replace=False))]
        parts.append(some)
    rows = pd.concat(parts, ignore_index=True)
    odd = [_odd(rows, column, rng) for column in inputs if not column.shape and len(rows)]
    return pd.concat([rows, *(part for part in odd if part is not None)], ignore_index=True)


def compare(original: Answers, converted: Answers, rows: pd.DataFrame) -> Comparison:
    """Ask both about all rows that the original takes.

    Raises:
        Invalid: the original takes no row at all, or the converted refuses one that the original takes.
    """
    rows, expected = _accepted(original, rows)
    got = converted(rows)
    with np.errstate(invalid="ignore"):
        apart: Floats = np.abs(got.scores - expected.scores)
        # NaN on both sides is agreement, and so is the same infinity; on one side only it is not.
        same = (np.isnan(got.scores) & np.isnan(expected.scores)) | (got.scores == expected.scores)
        apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
        close = apart <= TOLERANCE + TOLERANCE * np.abs(np.where(np.isfinite(expected.scores), expected.scores, 0.0))
    largest = float(apart.max(initial=0.0))
    labels_equal = _labels_equal(expected, got)
    agrees = bool(close.all()) and labels_equal
    wrong = int((~close.reshape(len(rows), -1).all(axis=1)).sum())
    sentence = f"{wrong} of {len(rows)} rows differ, by up to {largest:.3g}"
    if not wrong and not labels_equal:
        sentence = f"scores agree on {len(rows)} rows, and labels do not"
    return Comparison(
        rows=len(rows),
        # A manifest is JSON, which knows no infinity.
        largest_difference=largest if np.isfinite(largest) else float(np.finfo(np.float64).max),
        labels_equal=labels_equal,
        agrees=agrees,
        sentence=sentence,
    )


def _odd(rows: pd.DataFrame, column: Column, rng: np.random.Generator) -> pd.DataFrame | None:
    """Copies of real rows with a gap, or a text never seen, in one column."""
    if column.kind is not Kind.TEXT and not column.optional:
        return None
    some: Any = rows.iloc[rng.choice(len(rows), min(_ODD, len(rows)), replace=False)].copy()
    if column.kind is Kind.TEXT:
        some[column.name] = pd.Series([_UNSEEN] * len(some), index=some.index, dtype=object)
    else:
        some[column.name] = some[column.name].astype("float64") * np.nan
    return some.astype(rows.dtypes.to_dict())


def _accepted(original: Answers, rows: pd.DataFrame) -> tuple[pd.DataFrame, Answer]:
    """Rows that the original answers: all of them, else those without gaps, else those of known categories too."""
    unseen: NDArray[np.bool_] = (rows == _UNSEEN).any(axis=1).to_numpy()
    whole: NDArray[np.bool_] = rows.notna().all(axis=1).to_numpy()
    refusal: Invalid | None = None
    for kept in (np.ones(len(rows), dtype=bool), ~unseen, whole, whole & ~unseen):
        some: Any = rows[kept].reset_index(drop=True)
        if not len(some):
            continue
        try:
            return some, original(some)
        except Invalid as error:
            refusal = error
    raise refusal or Invalid("there is no row to compare the conversion on", hint="give holdout or training data")


def _labels_equal(expected: Answer, got: Answer) -> bool:
    if expected.picked is None or got.picked is None:
        return expected.picked is got.picked
    different = expected.picked != got.picked
    if not different.any():
        return True
    top = np.sort(expected.scores[different], axis=1)[:, -2:]
    return bool((top[:, 1] - top[:, 0] <= 2 * TOLERANCE).all())
