"""Packages whose model answers in a process of its own: what they say of it, and what the gates say of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.adapters.python_runner.opener import PythonRunners
from lockgate.base.errors import NotServable, UnsafeArtifact
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import DataConfig, GateSpec, ModelConfig
from lockgate.domain.monitoring import baseline as profiles
from lockgate.domain.registry.manifest import Manifest, Output
from lockgate.domain.registry.serving import Serving
from tests.policies import policy_for
from tests.pymodels import booster, custom, estimator, tensors, xgboost

pytestmark = pytest.mark.process

NAMES = ("a", "b")
CONFIG = ModelConfig(
    model="moody",
    owner="o",
    data=DataConfig(label="label"),
    gates=(
        GateSpec(kind="quality", params={"metric": "accuracy", "at_least": 0.8}),
        GateSpec(kind="slices", params={"metric": "accuracy", "by": ["side"], "at_least": 0.7}),
        GateSpec(kind="latency", params={"p99_ms": 500}),
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two columns of numbers, a side to divide them by, and whether the first is the larger."""
    chance = np.random.default_rng(0)
    frame = pd.DataFrame(chance.random((600, 2)), columns=list(NAMES))
    frame["side"] = np.where(chance.random(600) > 0.5, "left", "right")
    frame["label"] = (frame["a"] > frame["b"]).astype(int)
    folder = tmp_path_factory.mktemp("tables")
    files = {"training": folder / "training.parquet", "holdout": folder / "holdout.parquet"}
    frame[:300].to_parquet(files["training"])
    frame[300:].to_parquet(files["holdout"])
    return files


class Bench:
    """A workbench in a home of its own."""

    def __init__(self, home: Path, data: dict[str, Path]) -> None:
        self.blobs = DirectoryBlobs(home / "blobs")
        self.steps: list[str] = []
        self.data = data
        self.runners = PythonRunners(home, self.blobs, self.steps.append)
        self.workbench = PackageWorkbench(self.blobs, runners=self.runners)

    def package(self, folder: Path, config: ModelConfig = CONFIG, **more: Any) -> Manifest:
        return self.workbench.package(folder, more.get("data", self.data), config, {})

    def judge(self, manifest: Manifest, champion: Manifest | None = None, environment: str = "test") -> dict[str, Any]:
        config = CONFIG if champion else replace(CONFIG, gates=CONFIG.gates[:1])
        policy = policy_for(config, environment)
        results = self.workbench.evaluate(policy, manifest, champion, self.data)
        return {result.gate: result for result in results}


@pytest.fixture
def bench(tmp_path: Path, data: dict[str, Path]) -> Bench:
    return Bench(tmp_path / "home", data)


def lane(name: str) -> ModelConfig:
    return replace(CONFIG, serving=Serving(lane=name))


def test_an_estimator_in_the_python_lane_is_judged_by_its_own_answers(
    tmp_path: Path, bench: Bench, data: dict[str, Path]
) -> None:
    training = pd.read_parquet(data["training"])
    model = LogisticRegression().fit(training[list(NAMES)], training["label"])
    manifest = bench.package(estimator(tmp_path / "m", model, NAMES), lane("python"))
    assert (manifest.lane, manifest.graph, manifest.serialization) == ("python", None, "pickle")
    assert (manifest.task, manifest.classes, manifest.positive) == ("classification", ("0", "1"), "1")
    assert [output.name for output in manifest.signature.outputs] == ["label", "probabilities"]
    assert "numpy" in manifest.requirements
    assert any(text.startswith("mlflow-skinny") for text in manifest.requirements)
    assert manifest.not_compiled == "lockgate.yaml asks for the python lane"
    baseline = profiles.decode(bench.blobs.get(str(manifest.baseline)))
    assert baseline.rows == 300
    assert baseline.score is not None
    compiled = bench.package(estimator(tmp_path / "n", model, NAMES))
    assert compiled.lane == "compiled"
    verdicts = bench.judge(manifest, compiled)
    assert {gate: found.verdict for gate, found in verdicts.items()} == dict.fromkeys(verdicts, Verdict.PASS)
    assert "no converted graph" in verdicts["parity"].sentence
    assert "live version's" in verdicts["regression"].sentence


def test_code_of_somebodys_own_is_packaged_and_prod_refuses_it(tmp_path: Path, bench: Bench) -> None:
    code = "return {'word': ['big' if a > 0.5 else 'small' for a in rows['a']], 'parts': rows.to_numpy()}"
    manifest = bench.package(custom(tmp_path / "m", code))
    assert (manifest.task, manifest.lane, manifest.serialization) == ("other", "python", "python")
    assert manifest.flavor == "python_function"
    assert manifest.signature.outputs == (
        Output(name="word", datatype="BYTES"),
        Output(name="parts", datatype="FP64", shape=(2,)),
    )
    assert profiles.decode(bench.blobs.get(str(manifest.baseline))).score is None
    verdicts = bench.judge(manifest, environment="prod")
    assert verdicts["format"].verdict is Verdict.FAIL
    assert "Python code of its own" in verdicts["format"].sentence
    assert verdicts["quality"].verdict is Verdict.UNKNOWN
    assert "no metric measures anything else" in verdicts["quality"].sentence


def test_a_booster_answers_with_its_own_probabilities(tmp_path: Path, bench: Bench, data: dict[str, Path]) -> None:
    training: Any = pd.read_parquet(data["training"])
    rows = training[list(NAMES)]
    known = lightgbm.Dataset(rows, training["label"])
    model = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, known, num_boost_round=5)
    manifest = bench.package(booster(tmp_path / "m", model, NAMES), lane("python"))
    assert (manifest.flavor, manifest.serialization, manifest.classes) == ("lightgbm", "lightgbm-text", ("0", "1"))
    session = bench.runners.open_package(manifest)
    try:
        found = session.answer(session.rows(rows))
    finally:
        session.close()
    assert found["scores"][:, 1].tolist() == np.asarray(model.predict(rows)).tolist()
    assert found["picked"].tolist() == (found["scores"][:, 1] > 0.5).astype(int).tolist()


def test_an_xgboost_model_as_mlflow_saves_it_is_judged_and_is_no_code(
    tmp_path: Path, bench: Bench, data: dict[str, Path]
) -> None:
    training = pd.read_parquet(data["training"])
    rows = training[list(NAMES)]
    model = XGBClassifier(n_estimators=20, max_depth=3, random_state=0).fit(rows, training["label"])
    manifest = bench.package(xgboost(tmp_path / "m", model, rows))
    assert (manifest.lane, manifest.flavor, manifest.serialization) == ("python", "xgboost", "xgboost")
    assert (manifest.task, manifest.classes) == ("classification", ("0", "1"))
    policy = policy_for(CONFIG, "prod")
    results = {found.gate: found for found in bench.workbench.evaluate(policy, manifest, None, bench.data)}
    assert {gate: results[gate].verdict for gate in ("quality", "slices", "latency", "format")} == dict.fromkeys(
        ("quality", "slices", "latency", "format"), Verdict.PASS
    )
    holdout = pd.read_parquet(data["holdout"])
    session = bench.runners.open_package(manifest)
    try:
        found = session.answer(session.rows(holdout[list(NAMES)]))
    finally:
        session.close()
    assert found["scores"].tolist() == model.predict_proba(holdout[list(NAMES)]).astype(float).tolist()
    assert found["picked"].tolist() == model.predict(holdout[list(NAMES)]).tolist()


def test_one_number_a_row_makes_a_regression_with_or_without_data(tmp_path: Path, bench: Bench) -> None:
    folder = custom(tmp_path / "m", "return rows['a'] + rows['b']")
    assert bench.package(folder).task == "regression"
    bare = bench.package(folder, data={})
    assert (bare.task, bare.baseline) == ("regression", None)


def test_a_model_of_several_tensors_is_seen_to_answer_and_no_table_judges_it(tmp_path: Path, bench: Bench) -> None:
    folder = tensors(tmp_path / "m", "return {'light': rows['image'].mean(axis=(1, 2)), 'kind': rows['image'].shape}")
    with pytest.raises(NotServable, match="rows"):
        bench.package(folder)
    code = "return {'light': rows['image'].mean(axis=(1, 2)) * rows['dose'], 'drug': rows['drug']}"
    manifest = bench.package(tensors(tmp_path / "n", code))
    shapes = {column.name: (column.datatype, column.shape) for column in manifest.signature.inputs}
    assert shapes == {"image": ("UINT8", (4, 3)), "dose": ("FP32", ()), "drug": ("BYTES", ())}
    assert [output.name for output in manifest.signature.outputs] == ["light", "drug"]
    assert (manifest.lane, manifest.baseline) == ("python", None)
    one = bench.package(tensors(tmp_path / "o", "return rows['image'].mean(axis=(1, 2)) * rows['dose']"))
    assert one.task == "regression"
    policy = policy_for(
        replace(CONFIG, gates=(GateSpec(kind="quality", params={"metric": "mae", "at_most": 1}),)), "test"
    )
    [found] = [result for result in bench.workbench.evaluate(policy, one, None, bench.data) if result.gate == "quality"]
    assert found.verdict is Verdict.UNKNOWN
    assert "takes tensors (image, dose, drug), which no table holds" in found.sentence


def test_what_cannot_be_served_in_python_is_told_when_it_is_packaged(tmp_path: Path, bench: Bench) -> None:
    folder = custom(tmp_path / "m", "raise RuntimeError('not today')")
    with pytest.raises(NotServable, match="there is no graph: nothing converts a model of flavor python_function"):
        bench.package(folder, lane("compiled"))
    with pytest.raises(Exception, match="RuntimeError: not today"):
        bench.package(folder)
    (folder / "requirements.txt").write_text("numpy\n-r /etc/passwd\n")
    with pytest.raises(UnsafeArtifact) as caught:
        bench.package(folder)
    assert caught.value.problems == ("line 2: '-r /etc/passwd' is an option",)
    (folder / "requirements.txt").write_text("numpy\n")
    (folder / "code" / "custom_loader.py").write_text("import no_such_module")
    with pytest.raises(NotServable, match=r"cannot be opened in its environment: .*no_such_module"):
        bench.package(folder)
