"""Real estimators into graphs that answer alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.lightgbm as lightgbm_flavor
import mlflow.onnx as onnx_flavor
import numpy as np
import onnx
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.graphs import load_graph
from lockgate.domain.gates.config import DataConfig, ModelConfig
from lockgate.domain.registry.manifest import Kind, Manifest
from tests.unit.adapters.packages.conftest import Packer, Records, Saver, pipeline


def proved(manifest: Manifest, *, precision: str = "FP32") -> None:
    assert manifest.graph is not None, manifest.not_compiled
    assert manifest.graph.precision == precision
    assert manifest.graph.parity.rows > 500
    assert manifest.graph.parity.largest_difference < 1e-5
    assert manifest.graph.parity.labels_equal


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(n_estimators=20, random_state=1, n_jobs=1),
        GradientBoostingClassifier(n_estimators=20, random_state=1),
        HistGradientBoostingClassifier(max_iter=20, random_state=1),
        LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_pipeline_of_named_columns_with_text_and_gaps_becomes_a_graph(
    model: Any, records: Records, save: Saver, pack: Packer
) -> None:
    fitted = pipeline(model).fit(records.inputs(), records.labels())
    manifest = pack(save(fitted, records.inputs("holdout")))
    proved(manifest)
    assert manifest.graph is not None
    assert manifest.graph.layout == "columns"
    assert (manifest.task, manifest.classes, manifest.positive) == ("classification", ("0", "1"), "1")
    assert manifest.serialization == "skops"


def numbers_of(data: Any, folder: Path, *, far: bool = False) -> tuple[pd.DataFrame, Any, dict[str, Path], ModelConfig]:
    frame = data.data.astype("float64")
    if far:
        # Large numbers that differ by little: single precision takes many of them for equal.
        frame = frame / frame.std() * 0.05 + 1e6
    path = folder / "rows.parquet"
    frame.assign(target=data.target).to_parquet(path)
    config = ModelConfig(model="numbers", owner="team", data=DataConfig(label="target"))
    return frame, data.target, {"training": path, "holdout": path}, config


@pytest.mark.parametrize(
    "model",
    [
        Ridge(),
        RandomForestRegressor(n_estimators=10, random_state=1, n_jobs=1),
        GradientBoostingRegressor(n_estimators=20),
        HistGradientBoostingRegressor(max_iter=20),
        LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_regression_on_numbers_becomes_a_graph_with_one_matrix(
    model: Any, save: Saver, blobs: DirectoryBlobs, pack: Packer, tmp_path: Path
) -> None:
    frame, target, data, config = numbers_of(load_diabetes(as_frame=True), tmp_path)
    fitted = model.fit(frame, target)
    manifest = pack(save(fitted, frame), data=data, config=config)
    assert manifest.graph is not None, manifest.not_compiled
    assert (manifest.task, manifest.graph.layout, manifest.graph.label_output) == ("regression", "matrix", "")
    assert [output.name for output in manifest.signature.outputs] == ["prediction"]
    answer = load_graph(manifest, blobs).answer(frame)
    np.testing.assert_allclose(answer.scores, fitted.predict(frame), rtol=2e-5)


@pytest.mark.parametrize(
    ("model", "needs_double"),
    [
        (LGBMClassifier(n_estimators=30, verbose=-1, n_jobs=1), True),
        (HistGradientBoostingClassifier(max_iter=30), True),
        (make_pipeline(StandardScaler(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=10, random_state=1)), True),
        (RandomForestClassifier(n_estimators=10, random_state=1, n_jobs=1), False),
    ],
    ids=["lightgbm", "histogram", "scaled-linear", "scaled-boosting", "forest"],
)
def test_a_model_that_single_precision_would_move_keeps_double(
    model: Any, needs_double: bool, save: Saver, pack: Packer, tmp_path: Path
) -> None:
    frame, target, data, config = numbers_of(load_breast_cancer(as_frame=True), tmp_path, far=True)
    manifest = pack(save(model.fit(frame, target), frame), data=data, config=config)
    proved(manifest, precision="FP64" if needs_double else "FP32")


def test_numbers_by_name_are_taken_as_one_matrix_that_the_graph_takes_apart(
    records: Records, save: Saver, pack: Packer
) -> None:
    columns = ColumnTransformer([("scaled", StandardScaler(), ["TSH", "age"]), ("plain", "passthrough", ["T3"])])
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=10))
    frame = records.inputs()[["T3", "age", "TSH"]]
    manifest = pack(save(model.fit(frame, records.labels()), frame))
    proved(manifest, precision=manifest.graph.precision if manifest.graph else "")
    assert manifest.graph is not None
    assert (manifest.graph.layout, manifest.graph.matrix_input) == ("matrix", "lockgate_matrix")
    assert [column.name for column in manifest.signature.inputs] == ["T3", "age", "TSH"]


def test_a_model_of_an_array_keeps_its_one_tensor(save: Saver, pack: Packer, tmp_path: Path) -> None:
    frame, target, data, config = numbers_of(load_iris(as_frame=True), tmp_path)
    model = RandomForestClassifier(n_estimators=5, n_jobs=1, random_state=1).fit(frame.to_numpy(), target)
    manifest = pack(save(model, frame.to_numpy()), data=data, config=config)
    assert manifest.graph is not None, manifest.not_compiled
    assert [(column.shape, column.kind) for column in manifest.signature.inputs] == [((4,), Kind.NUMBER)]
    assert (manifest.classes, manifest.positive) == (("0", "1", "2"), None)


def test_text_classes_are_answered_as_text(save: Saver, pack: Packer, tmp_path: Path) -> None:
    data: Any = load_iris(as_frame=True)
    frame, _, files, config = numbers_of(data, tmp_path)
    names = data.target_names[data.target]
    manifest = pack(save(LogisticRegression(max_iter=1000).fit(frame, names), frame), data=files, config=config)
    assert manifest.graph is not None, manifest.not_compiled
    assert manifest.classes == ("setosa", "versicolor", "virginica")
    assert manifest.signature.outputs[0].datatype == "BYTES"


@pytest.mark.parametrize("native", [False, True], ids=["estimator", "booster"])
def test_lightgbms_own_flavor_is_read(native: bool, save: Saver, pack: Packer, tmp_path: Path) -> None:
    frame, target, data, config = numbers_of(load_breast_cancer(as_frame=True), tmp_path)
    frame.columns = frame.columns.str.replace(" ", "_")
    frame.assign(target=target).to_parquet(data["training"])
    model = LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(frame, target)
    folder = save(model.booster_ if native else model, frame, flavor=lightgbm_flavor)
    manifest = pack(folder, data=data, config=config)
    assert manifest.graph is not None, manifest.not_compiled
    assert manifest.serialization == ("lightgbm-text" if native else "skops")
    assert (manifest.flavor, manifest.classes) == ("lightgbm", ("0", "1"))


def test_a_graph_that_was_logged_is_served_as_it_is(
    boosted: Path, records: Records, save: Saver, pack: Packer, blobs: DirectoryBlobs
) -> None:
    first = pack(boosted)
    assert first.graph is not None
    proto = onnx.load_model_from_string(blobs.get(first.files[first.graph.path].digest))
    manifest = pack(save(proto, records.inputs("holdout"), flavor=onnx_flavor))
    assert (manifest.flavor, manifest.serialization, manifest.task) == ("onnx", "onnx", "classification")
    assert manifest.classes == ("0", "1")
    assert manifest.graph is not None
    assert manifest.graph.layout == "columns"
    rows = records.inputs("holdout").astype({name: object for name in ("sex", "referral_source")})
    np.testing.assert_array_equal(
        load_graph(first, blobs).answer(rows).scores, load_graph(manifest, blobs).answer(rows).scores
    )


def test_what_cannot_be_converted_says_why_and_is_still_a_package(records: Records, save: Saver, pack: Packer) -> None:
    frame = records.inputs()[["TSH", "T3"]].fillna(0.0)
    # Brute force over a callable metric has no counterpart among ONNX's operators.
    model = KNeighborsClassifier(algorithm="brute", metric="haversine").fit(frame, records.labels())
    manifest = pack(save(model, frame))
    assert manifest.graph is None
    assert "FP32" in manifest.not_compiled
    assert manifest.baseline is not None
