"""A plain model of the same rows: what they can be expected to give, whatever the candidate says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from lockgate.adapters.packages.answers import Floats

#: Most rows it learns from: enough for a yardstick, and a second or two.
MOST_ROWS = 8_000
FOLDS = 4
#: Categories told apart; the rest count as unseen.
_MOST_CATEGORIES = 100
#: Rows are drawn and the model is grown by this, so that equal packages get equal verdicts.
_SEED = 20


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Features and truth of some rows."""

    frame: DataFrame
    #: Classification: index of the class, -1 for an unknown one. Regression: the value. Shape (rows,).
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Some of them, by position."""
        return Rows(frame=self.frame.iloc[rows].reset_index(drop=True), labels=self.labels[rows])


class Reference:
    """Gradient-boosted trees with scikit-learn's defaults and few rounds, on the training rows where there are any.

    Without training rows it is fitted and asked by turns on parts of the judged rows themselves.
    """

    def __init__(self, judged: Rows, learned: Rows | None, *, classes: int) -> None:
        """``classes`` is 0 for a regression."""
        self._judged = judged
        self._learned = None if learned is None else _sampled(_known(learned, classes))
        self._classes = classes

    @property
    def learned(self) -> Rows | None:
        """The training rows it learned from; a sample where there are many."""
        return self._learned

    @cached_property
    def on_judged(self) -> Floats:
        """Probabilities, shape (rows, classes), or predictions, shape (rows,), for all judged rows."""
        if self._learned is None or not _can_learn(self._learned, self._classes):
            return self._crossed(self._judged)
        return self._fitted(self._learned, self._judged)

    @cached_property
    def on_learned(self) -> Floats | None:
        """The same for its own training rows, each by a model that has not seen it; None without any."""
        if self._learned is None or not _can_learn(self._learned, self._classes):
            return None
        return self._crossed(self._learned)

    def _crossed(self, rows: Rows) -> Floats:
        fold = np.random.default_rng(_SEED).permutation(len(rows)) % FOLDS
        shape = (len(rows), self._classes) if self._classes else (len(rows),)
        found = np.full(shape, np.nan)
        for number in range(FOLDS):
            inside = _known(_sampled(rows.take(np.flatnonzero(fold != number))), self._classes)
            outside = np.flatnonzero(fold == number)
            if len(inside) and len(outside):
                found[outside] = self._fitted(inside, rows.take(outside))
        return found

    def _fitted(self, learned: Rows, asked: Rows) -> Floats:
        columns = _Columns(learned.frame)
        train, test = columns.numbers(learned.frame), columns.numbers(asked.frame)
        kind: Any = HistGradientBoostingClassifier if self._classes else HistGradientBoostingRegressor
        model = kind(
            max_iter=60,
            max_leaf_nodes=15,
            early_stopping=False,
            categorical_features=columns.categorical,
            random_state=_SEED,
        )
        if not self._classes:
            return np.asarray(model.fit(train, learned.labels).predict(test), dtype=np.float64)
        present = np.unique(learned.labels)
        found = np.zeros((len(asked), self._classes))
        if len(present) == 1:
            found[:, int(present[0])] = 1.0
            return found
        found[:, present.astype(int)] = model.fit(train, learned.labels).predict_proba(test)
        return found


class _Columns:
    """Every column as numbers: categories by their place among those seen in learning, unseen ones as missing."""

    def __init__(self, frame: DataFrame) -> None:
        self._categories: dict[str, pd.Index] = {}
        self.categorical: list[bool] = []
        for name in frame.columns:
            numeric = pd.api.types.is_numeric_dtype(frame[name].dtype) or pd.api.types.is_bool_dtype(frame[name].dtype)
            self.categorical.append(not numeric)
            if not numeric:
                self._categories[name] = pd.Series(frame[name]).value_counts().index[:_MOST_CATEGORIES]

    def numbers(self, frame: DataFrame) -> Floats:
        """Shape (rows, columns)."""
        found = np.empty((len(frame), len(frame.columns)))
        for place, name in enumerate(frame.columns):
            if name in self._categories:
                codes = self._categories[name].get_indexer(pd.Index(frame[name])).astype(np.float64)
                found[:, place] = np.where(codes < 0, np.nan, codes)
            else:
                found[:, place] = np.asarray(frame[name], dtype=np.float64)
        # Infinity is no number a tree can split by.
        return np.where(np.isfinite(found), found, np.nan)


def _known(rows: Rows, classes: int) -> Rows:
    if not classes:
        return rows.take(np.flatnonzero(np.isfinite(rows.labels.astype(np.float64))))
    return rows.take(np.flatnonzero(rows.labels >= 0))


def _sampled(rows: Rows) -> Rows:
    return rows if len(rows) <= MOST_ROWS else rows.take(sample_of(len(rows), MOST_ROWS))


def sample_of(rows: int, most: int) -> NDArray[np.int64]:
    """Positions of at most so many rows, drawn evenly and always the same, in their order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(_SEED).choice(rows, most, replace=False))


def _can_learn(rows: Rows, classes: int) -> bool:
    return len(rows) >= 2 * FOLDS and (not classes or len(np.unique(rows.labels)) > 1)
