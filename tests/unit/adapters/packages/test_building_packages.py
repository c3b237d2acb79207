"""What a package says of a model, and which artifacts never become one."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.build import GRAPH_PATH
from lockgate.adapters.packages.files import Limits
from lockgate.base.errors import (
    CorruptArtifact,
    Invalid,
    LockgateError,
    NotFound,
    NotServable,
    TooLarge,
    UnsafeArtifact,
)
from lockgate.demo import data as thyroid
from lockgate.domain.gates.config import DataConfig
from lockgate.domain.monitoring import baseline as profiles
from lockgate.domain.registry.manifest import Kind
from tests.unit.adapters.packages.conftest import CONFIG, Packer, Records, Saver, pipeline


@pytest.fixture
def folder(boosted: Path, tmp_path: Path) -> Path:
    """A copy of a logged model to do harm to."""
    return Path(shutil.copytree(boosted, tmp_path / "model"))


def test_ranges_categories_and_gaps_come_from_the_training_data(boosted: Path, records: Records, pack: Packer) -> None:
    columns = {column.name: column for column in pack(boosted).signature.inputs}
    ages = records.training["age"]
    assert (columns["age"].low, columns["age"].high) == (ages.min(), ages.max())
    assert columns["sex"].categories == ("F", "M", "unknown")
    assert columns["sex"].personal
    assert columns["TSH"].optional
    assert not columns["sick"].optional
    assert (columns["sick"].kind, columns["sex"].kind, columns["age"].kind) == (Kind.INTEGER, Kind.TEXT, Kind.NUMBER)
    assert list(columns) == list(thyroid.INPUTS)


def test_a_package_holds_every_file_the_graph_and_the_baseline(
    boosted: Path, records: Records, pack: Packer, blobs: DirectoryBlobs
) -> None:
    facts = {
        "run_id": "r1",
        "uri": "models:/m-1",
        "parameters": {"depth": 3},
        "metrics": {"auc": 0.9, "broken": float("nan")},
    }
    manifest = pack(boosted, facts=facts)
    assert {"MLmodel", "model.skops", "requirements.txt", GRAPH_PATH} <= set(manifest.files)
    assert all(blobs.has(entry.digest) for entry in manifest.files.values())
    assert manifest.requirements == ("mlflow==3.17.2", "scikit-learn") or "scikit-learn" in manifest.requirements
    assert (manifest.source, manifest.parameters) == ({"run_id": "r1", "uri": "models:/m-1"}, {"depth": "3"})
    assert manifest.metrics == {"auc": 0.9}
    assert manifest.baseline is not None
    baseline = profiles.decode(blobs.get(manifest.baseline))
    assert baseline.rows == len(records.training)
    assert baseline.score is not None
    assert baseline.classes == ("0", "1")


def test_the_same_model_and_data_are_the_same_package(boosted: Path, pack: Packer) -> None:
    assert pack(boosted).digest == pack(boosted).digest


def test_without_training_data_the_holdout_gives_the_baseline_and_the_package_says_so(
    boosted: Path, records: Records, pack: Packer
) -> None:
    manifest = pack(boosted, data={"holdout": records.files["holdout"]})
    assert manifest.baseline_rows == "holdout"
    assert manifest.baseline is not None
    assert manifest.graph is not None


def test_without_any_data_nothing_is_claimed_about_the_conversion(boosted: Path, pack: Packer) -> None:
    manifest = pack(boosted, data={})
    assert (manifest.graph, manifest.baseline) == (None, None)
    assert "neither training nor holdout data" in manifest.not_compiled


def test_csv_plain_or_gzipped_will_do(boosted: Path, records: Records, pack: Packer, tmp_path: Path) -> None:
    plain, packed = tmp_path / "rows", tmp_path / "rows.gz"
    records.training.to_csv(plain, index=False)
    rows = plain.read_bytes()
    # Two parts one behind the other, as programs that pack in parallel write them.
    packed.write_bytes(gzip.compress(rows[:1000]) + gzip.compress(rows[1000:]))
    first, second = pack(boosted, data={"training": plain}), pack(boosted, data={"training": packed})
    assert first.digest == second.digest
    assert first.graph is not None


def test_a_model_without_a_signature_is_understood_by_the_names_it_was_fitted_on(
    records: Records, save: Saver, pack: Packer
) -> None:
    model = pipeline(HistGradientBoostingClassifier(max_iter=5)).fit(records.inputs(), records.labels())
    folder = save(model, None)
    assert [column.name for column in pack(folder).signature.inputs] == list(thyroid.INPUTS)
    with pytest.raises(NotServable, match="without a signature"):
        pack(folder, data={})


def test_the_positive_class_can_be_named(boosted: Path, pack: Packer) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, positive="False"))
    assert pack(boosted, config=config).positive == "0"
    with pytest.raises(Invalid, match="classes are 0 and 1"):
        pack(boosted, config=replace(CONFIG, data=replace(CONFIG.data, positive="sick")))


def test_a_pickle_is_opened_only_where_that_is_allowed(records: Records, save: Saver, pack: Packer) -> None:
    model = pipeline(HistGradientBoostingClassifier(max_iter=5)).fit(records.inputs(), records.labels())
    folder = save(model, records.inputs("holdout"), serialization_format="cloudpickle")
    assert pack(folder).serialization == "pickle"
    with pytest.raises(UnsafeArtifact, match="pickle") as caught:
        pack(folder, allow_pickle=False)
    assert "skops" in caught.value.hint


def test_a_pickle_under_another_name_is_still_a_pickle(folder: Path, pack: Packer) -> None:
    canary = folder.parent / "canary"

    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (canary,))

    (folder / "model.skops").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(CorruptArtifact):
        pack(folder)
    described = (folder / "MLmodel").read_text()
    (folder / "model.bin").write_bytes(pickle.dumps(Harm()))
    (folder / "MLmodel").write_text(described.replace("model.skops", "model.bin"))
    with pytest.raises(UnsafeArtifact):
        pack(folder, allow_pickle=False)
    assert not canary.exists()


def test_types_outside_the_allowlist_are_refused_whatever_the_file_trusts(
    records: Records, save: Saver, pack: Packer
) -> None:
    frame = records.inputs()[["TSH", "T3"]].fillna(0.0)
    model = make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression()).fit(frame, records.labels())
    folder = save(model, frame, trusted=["numpy.nan_to_num"])
    with pytest.raises(UnsafeArtifact, match=r"numpy\.nan_to_num"):
        pack(folder)


def test_a_classifier_without_probabilities_is_told_what_to_do(records: Records, save: Saver, pack: Packer) -> None:
    frame = records.inputs()[["TSH", "T3"]].fillna(0.0)
    with pytest.raises(NotServable) as caught:
        pack(save(LinearSVC().fit(frame, records.labels()), frame))
    assert "CalibratedClassifierCV" in caught.value.hint


def harm_link(folder: Path) -> None:
    (folder / "extra").symlink_to("/etc/passwd")


def harm_folder_link(folder: Path) -> None:
    (folder / "extra").symlink_to("/etc")


def harm_pipe(folder: Path) -> None:
    os.mkfifo(folder / "extra")


def harm_outside_name(folder: Path) -> None:
    path = folder / "MLmodel"
    path.write_text(path.read_text().replace("pickled_model: model.skops", "pickled_model: ../model.skops"))


def harm_control_name(folder: Path) -> None:
    (folder / "a\nb").write_text("x")


def harm_zip_slip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.skops", "a") as archive:
        archive.writestr("../../evil", "x")


@pytest.mark.parametrize(
    "harm", [harm_link, harm_folder_link, harm_pipe, harm_outside_name, harm_control_name, harm_zip_slip]
)
def test_an_artifact_that_reaches_outside_is_refused(harm: Any, folder: Path, pack: Packer) -> None:
    harm(folder)
    with pytest.raises(UnsafeArtifact):
        pack(folder)


@pytest.mark.parametrize(
    "limits",
    [Limits(files=3), Limits(total=10_000), Limits(single=5_000)],
    ids=["too many files", "too many bytes", "one large file"],
)
def test_an_artifact_beyond_the_limits_is_refused(limits: Limits, folder: Path, pack: Packer) -> None:
    with pytest.raises(UnsafeArtifact):
        pack(folder, limits=limits)


def test_a_zip_bomb_is_refused_before_it_unpacks(folder: Path, pack: Packer) -> None:
    with zipfile.ZipFile(folder / "model.skops", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 30_000_000)
    with pytest.raises(UnsafeArtifact, match="unpacks to more"):
        pack(folder, limits=Limits(total=20_000_000))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_truncated_model_file_is_a_corrupt_artifact(share: float, folder: Path, pack: Packer) -> None:
    path = folder / "model.skops"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CorruptArtifact):
        pack(folder)


def test_a_flipped_byte_in_the_model_file_is_noticed(folder: Path, pack: Packer) -> None:
    path = folder / "model.skops"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises((CorruptArtifact, UnsafeArtifact)):
        pack(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "flavors: 3",
        "flavors: {sklearn: 3}",
        "a: &a [*a]",
        "flavors: {sklearn: {}}",
        "signature: {inputs: '['}",
    ],
)
def test_a_broken_mlmodel_is_a_corrupt_artifact(text: str, folder: Path, pack: Packer) -> None:
    (folder / "MLmodel").write_text(text)
    with pytest.raises(CorruptArtifact):
        pack(folder)


def test_a_folder_without_a_model_and_a_flavor_nobody_knows_are_told_apart(folder: Path, pack: Packer) -> None:
    path = folder / "MLmodel"
    path.write_text(path.read_text().replace("  sklearn:", "  spark:"))
    with pytest.raises(NotServable, match="spark"):
        pack(folder)
    path.unlink()
    with pytest.raises(NotFound):
        pack(folder)


def without_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["TSH"])


def without_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.head(0)


def with_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(TSH="high")


def with_fractions(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(sick=0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_column, "no column TSH"),
        (with_text, "does not fit"),
        (with_fractions, "does not fit"),
        (without_rows, "no row"),
    ],
)
def test_training_data_that_does_not_fit_is_told(
    change: Any, told: str, boosted: Path, records: Records, pack: Packer, tmp_path: Path
) -> None:
    path = tmp_path / "training.parquet"
    change(records.training).to_parquet(path)
    with pytest.raises(Invalid, match=told):
        pack(boosted, data={"training": path})


@pytest.mark.parametrize("data", [b"", b"PAR1 and no more", b"\x1f\x8b\x08 not gzip", b"\xff\xfe\x00\x01"])
def test_data_that_is_no_table_is_told(data: bytes, boosted: Path, pack: Packer, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(data)
    with pytest.raises((Invalid, TooLarge)) as caught:
        pack(boosted, data={"training": path})
    assert isinstance(caught.value, LockgateError)


def test_a_holdout_that_does_not_fit_is_left_to_the_gates(
    boosted: Path, records: Records, pack: Packer, tmp_path: Path
) -> None:
    path = tmp_path / "holdout.parquet"
    without_column(records.holdout).to_parquet(path)
    assert pack(boosted, data=records.files | {"holdout": path}).graph is not None


def test_label_and_subject_stay_out_of_an_arrays_features(
    records: Records, save: Saver, pack: Packer, tmp_path: Path
) -> None:
    frame: Any = records.training[["TSH", "T3", thyroid.PATIENT, thyroid.LABEL]].fillna(0.0)
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    array = frame[["TSH", "T3"]].to_numpy()
    folder = save(LogisticRegression().fit(array, frame[thyroid.LABEL]), array)
    assert pack(folder, data={"training": path}).graph is not None
    with pytest.raises(Invalid, match="takes 2 numbers a row"):
        pack(folder, data={"training": path}, config=replace(CONFIG, data=DataConfig(label=thyroid.LABEL)))
