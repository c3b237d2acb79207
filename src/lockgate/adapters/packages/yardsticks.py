"""What smooth models make of rows that are new to them, to see how well such rows can be known."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.reference import Rows, sample_of

#: Rows they learn from, at most, and columns of which every two are multiplied.
_MOST_ROWS, _MOST_PRODUCTS = 3_000, 30
_COMPONENTS, _SEED = 200, 20


def smooth_answers(learned: Rows, asked: DataFrame, *, classes: int) -> Iterator[Floats]:
    """What three smooth models say of rows they have not seen: linear, with products of columns, and by nearness.

    Trees are poor where the truth is smooth, so a sound smooth model can look too good beside them.

    Args:
        learned: rows with known labels only, finite for a regression.
        asked: rows of the same columns.
        classes: how many the labels count; 0 for a regression.

    Yields:
        Probabilities, shape (rows, classes), or predictions, shape (rows,).
    """
    rows = learned.take(sample_of(len(learned), _MOST_ROWS))
    numeric = [str(name) for name in rows.frame.columns if pd.api.types.is_numeric_dtype(rows.frame[name].dtype)]
    others = [str(name) for name in rows.frame.columns if str(name) not in numeric]
    shapes: list[tuple[Any, ...]] = [(), (Nystroem(n_components=min(_COMPONENTS, len(rows)), random_state=_SEED),)]
    if len(numeric) <= _MOST_PRODUCTS:
        shapes.append((PolynomialFeatures(2, include_bias=False), StandardScaler()))
    for shape in shapes:
        last: Any = LogisticRegression(max_iter=200) if classes else Ridge()
        model = make_pipeline(_prepared(numeric, others), *shape, last)
        yield _answered(model, rows, _finite(rows.frame, numeric), _finite(asked, numeric), classes)


def _answered(model: Any, rows: Rows, frame: DataFrame, asked: DataFrame, classes: int) -> Floats:
    with warnings.catch_warnings():
        # What has not settled by then is a poorer yardstick, which is no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(frame, rows.labels)
    if not classes:
        return np.asarray(model.predict(asked), dtype=np.float64)
    found = np.zeros((len(asked), classes))
    found[:, np.unique(rows.labels).astype(int)] = model.predict_proba(asked)
    return found


def _prepared(numeric: list[str], others: list[str]) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", max_categories=30, sparse_output=False),
    )
    return ColumnTransformer([("numbers", numbers, numeric), ("words", words, others)])


def _finite(frame: DataFrame, numeric: list[str]) -> DataFrame:
    """With numbers as such, infinity as a gap, and everything else as text."""
    columns: dict[str, NDArray[Any]] = {}
    for name in map(str, frame.columns):
        if name in numeric:
            values = np.asarray(frame[name], dtype=np.float64)
            columns[name] = np.where(np.isfinite(values), values, np.nan)
        else:
            series: Any = frame[name]
            columns[name] = np.where(series.isna(), "", series.astype("str")).astype(object)
    return pd.DataFrame(columns)
