"""How a data team would train a model of a table: the same recipe for sound and faulty candidates."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn as sklearn_flavor
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.gauntlet.tables import LABEL, Table

_TRUSTED = [
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows to train on, and rows held out."""

    training: Any
    holdout: Any


def split(table: Table, *, holdout: float = 0.4) -> Split:
    """The split that the champion and every candidate of a table are judged by."""
    cut = int(len(table.frame) * (1 - holdout))
    return Split(training=table.frame[:cut].reset_index(drop=True), holdout=table.frame[cut:].reset_index(drop=True))


def forest(table: Table, *, seed: int = 0, trees: int = 60) -> Pipeline:
    """The recipe that is live."""
    kind: Any = RandomForestRegressor if table.task == "regression" else RandomForestClassifier
    return recipe(table, kind(n_estimators=trees, min_samples_leaf=3, random_state=seed, n_jobs=1))


def linear(table: Table, *, fill: Any = "median") -> Any:
    """The other recipe, whose inner parts can be bent."""
    return recipe(table, Ridge() if table.task == "regression" else LogisticRegression(max_iter=500), fill=fill)


def recipe(table: Table, model: Any, *, fill: Any = "median") -> Pipeline:
    """A model behind imputed and scaled numbers and one-hot categories."""
    texts = [name for name in table.features if not pd.api.types.is_numeric_dtype(table.frame[name].dtype)]
    numbers = [name for name in table.features if name not in texts]
    imputer = _imputer(fill)
    steps: list[tuple[str, Any, list[str]]] = [
        ("numbers", Pipeline([("imputer", imputer), ("scaler", StandardScaler())]), numbers)
    ]
    if texts:
        steps.append(("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts))
    return Pipeline([("columns", ColumnTransformer(steps)), ("model", model)])


def fit(model: Any, rows: Any) -> Any:
    """Fitted on the rows' features and labels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(rows.drop(columns=LABEL), rows[LABEL])


def log(model: Any, rows: Any, folder: Path, **options: Any) -> Path:
    """Log a fitted model into a folder, as MLflow does."""
    features = rows.drop(columns=LABEL).head(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(features, np.zeros(len(features)))
        if "serialization_format" not in options:
            options["skops_trusted_types"] = _TRUSTED
        sklearn_flavor.save_model(model, folder, signature=signature, pip_requirements=["scikit-learn"], **options)
    return folder


def _imputer(fill: Any) -> SimpleImputer:
    if isinstance(fill, str):
        return SimpleImputer(strategy=fill)
    return SimpleImputer(strategy="constant", fill_value=fill)
