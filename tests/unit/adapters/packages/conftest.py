"""Real records, real estimators, and the folders MLflow makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.sklearn as sklearn_flavor
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.build import build
from lockgate.demo import data as thyroid
from lockgate.domain.gates.config import DataConfig, ModelConfig
from lockgate.domain.registry.manifest import Manifest

CONFIG = ModelConfig(
    model="thyroid", owner="endocrine", data=DataConfig(label=thyroid.LABEL, subject=thyroid.PATIENT, personal=("sex",))
)
#: Without it MLflow starts a process to find out what a model imports.
_PINS = ["scikit-learn"]
#: What the author of a model says is safe; lockgate does not look at it.
_TRUSTED = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)

Saver = Callable[..., Path]
Packer = Callable[..., Manifest]


@dataclass(frozen=True, kw_only=True)
class Records:
    """Tables as frames, and as files."""

    training: pd.DataFrame
    holdout: pd.DataFrame
    files: dict[str, Path]

    def inputs(self, role: str = "training") -> pd.DataFrame:
        frame = getattr(self, role)
        return frame[list(thyroid.INPUTS)]

    def labels(self) -> Any:
        return self.training[thyroid.LABEL]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that fight for two cores make histogram boosting a hundred times slower."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """2,000 thyroid reports to train on and 1,200 to hold out, numbers in double precision, gaps and all."""
    table = thyroid.load().sample(frac=1, random_state=5).reset_index(drop=True)
    table = table.astype({name: "float64" for name in ("age", *thyroid.LABS)})
    folder = tmp_path_factory.mktemp("records")
    frames: dict[str, Any] = {"training": table[:2000], "holdout": table[2000:3200].reset_index(drop=True)}
    files: dict[str, Path] = {}
    for role, frame in frames.items():
        files[role] = folder / f"{role}.parquet"
        frame.to_parquet(files[role])
    return Records(training=frames["training"], holdout=frames["holdout"], files=files)


def pipeline(model: Any, *, labs: tuple[str, ...] = thyroid.LABS, fill: bool = True) -> Pipeline:
    """The model behind one-hot categories, by the names of the columns."""
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median") if fill else "passthrough", ["age", *labs]),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(thyroid.CATEGORIES)),
            ("history", "passthrough", list(thyroid.HISTORY)),
        ]
    )
    return Pipeline([("columns", columns), ("model", model)])


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Saver:
    """``save(model, example)``: log a model as MLflow does; gives the folder."""

    def saved(
        model: Any, example: Any, *, flavor: Any = sklearn_flavor, trusted: Sequence[str] = (), **options: Any
    ) -> Path:
        folder = tmp_path_factory.mktemp("logged") / "model"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's hints about whole numbers and pickles
            signature = None if example is None else infer_signature(example, np.zeros(len(example)))
            if flavor is sklearn_flavor and "serialization_format" not in options:
                options["skops_trusted_types"] = [*_TRUSTED, *trusted]
            flavor.save_model(model, folder, signature=signature, pip_requirements=_PINS, **options)
        return folder

    return saved


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="session")
def pack(records: Records, blobs: DirectoryBlobs) -> Packer:
    """``pack(folder)``: a package of the thyroid model in a folder; gives the manifest."""

    def packed(folder: Path, **changed: Any) -> Manifest:
        known: dict[str, Any] = {"data": records.files, "config": CONFIG, "facts": {}, "blobs": blobs}
        return build(folder, **(known | changed))

    return packed


@pytest.fixture(scope="session")
def boosted(records: Records, save: Saver) -> Path:
    """A logged LightGBM pipeline, the good model of these tests."""
    model = pipeline(LGBMClassifier(n_estimators=60, num_leaves=15, verbose=-1, n_jobs=1, random_state=1))
    return save(model.fit(records.inputs(), records.labels()), records.inputs("holdout"))
