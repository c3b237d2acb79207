"""The demo's models: ordinary scikit-learn pipelines, each with a flaw or virtue that shows on the real records.

All take the columns of `data.INPUTS` and answer `predict_proba`. They hold no code of ours, so that they can be stored
without pickle and turned into ONNX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lockgate.demo.data import CATEGORIES, HISTORY, LABS, Rows

#: What the champion reads: the hormones themselves, and not TSH.
PANEL = ("T3", "TT4", "T4U", "FTI")
#: What the better candidate reads: TSH, missing in one training record of eight, in place of T3, missing in one of
#: three. But T3 is what betrays a thyroid upset by another illness, rare in training and common in the shift.
WITHOUT_T3 = ("TSH", "TT4", "T4U", "FTI")

#: What skops must be told to trust (mlflow's `skops_trusted_types`) to read the forest and the boosted trees back.
TRUSTED_TYPES = ("numpy.dtype", "sklearn.tree._tree.Tree")

_FEW = 200  # records the worse candidate learns from


def train_champion(rows: Rows, *, seed: int) -> Pipeline:
    """Sound, and not the last word: a forest on the hormone panel, age, sex, clinic and history."""
    forest = RandomForestClassifier(n_estimators=60, min_samples_leaf=5, random_state=seed, n_jobs=1)
    return _fit(rows, _columns(PANEL, _fill()), forest)


def train_worse(rows: Rows, *, seed: int) -> Pipeline:
    """Plainly worse: a straight line through too few records, though both too much and too little is a finding."""
    few = rows.pick(np.arange(_FEW))
    numbers = Pipeline([("fill", _fill()), ("scale", StandardScaler())])
    return _fit(few, _columns(LABS, numbers), LogisticRegression(max_iter=1000, random_state=seed))


def train_careless(rows: Rows, *, seed: int) -> Pipeline:
    """Beats the champion on complete records and answers NaN for the others: nobody filled the gaps."""
    network = MLPClassifier((16,), activation="tanh", solver="lbfgs", alpha=3.0, max_iter=2000, random_state=seed)
    return _fit(rows.complete(), _columns(LABS, StandardScaler()), network)


def train_better(rows: Rows, *, seed: int) -> Pipeline:
    """Truly better in the clinics it learned from; blind to what most findings of the latecomers show in."""
    return _fit(rows, _columns(WITHOUT_T3, _fill()), _boosting(seed))


def train_repaired(rows: Rows, *, seed: int) -> Pipeline:
    """What the review after the rollback asks for: the better candidate with T3 given back."""
    return _fit(rows, _columns(LABS, _fill()), _boosting(seed))


def input_example(rows: Rows) -> pd.DataFrame:
    """A few complete records to show a caller.

    Infer the signature from all of `rows.inputs` instead: only there does mlflow see that a value may be missing.
    """
    return rows.complete().inputs.head(5)


def _boosting(seed: int) -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=100, max_depth=3, subsample=0.8, random_state=seed)


def _fill() -> SimpleImputer:
    return SimpleImputer(strategy="median")


def _columns(labs: tuple[str, ...], numbers: Any) -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numbers", numbers, ["age", *labs]),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(CATEGORIES)),
            ("history", "passthrough", list(HISTORY)),
        ]
    )


def _fit(rows: Rows, inputs: ColumnTransformer, model: ClassifierMixin) -> Pipeline:
    return Pipeline([("inputs", inputs), ("model", model)]).fit(rows.inputs, rows.labels)
