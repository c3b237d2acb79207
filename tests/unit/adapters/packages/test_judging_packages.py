"""Gates over real packages: the good go through, the bad do not, and what cannot be told is unknown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.base.verdict import Verdict, worst
from lockgate.demo import data as thyroid
from lockgate.domain.gates.config import DataConfig, GateSpec, ModelConfig, Policy
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Kind, Manifest, Signature
from lockgate.ports import Workbench
from tests.policies import policy_for
from tests.unit.adapters.packages.conftest import CONFIG, Packer, Records, Saver, pipeline

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


@pytest.fixture(scope="session")
def good(boosted: Path, pack: Packer) -> Manifest:
    return pack(boosted)


@pytest.fixture(scope="session")
def forest(records: Records, save: Saver, pack: Packer) -> Manifest:
    """Another good model."""
    model = pipeline(RandomForestClassifier(n_estimators=60, min_samples_leaf=3, random_state=2, n_jobs=1))
    return pack(save(model.fit(records.inputs(), records.labels()), records.inputs("holdout")))


@pytest.fixture(scope="session")
def poor(records: Records, save: Saver, pack: Packer) -> Manifest:
    """Learned from shuffled labels."""
    shuffled = records.labels().sample(frac=1, random_state=1).to_numpy()
    model = pipeline(RandomForestClassifier(n_estimators=20, random_state=1, n_jobs=1))
    return pack(save(model.fit(records.inputs(), shuffled), records.inputs("holdout")))


class Bench:
    """Judges by one gate, or by all of an environment."""

    def __init__(self, records: Records, blobs: DirectoryBlobs) -> None:
        self.files = records.files
        self.blobs = blobs

    def one(self, candidate: Manifest, champion: Manifest | None, kind: str, **params: Any) -> GateResult:
        policy = replace(policy_for(CONFIG, "prod"), gates=(GateSpec(kind=kind, params=params),))
        (result,) = self.all(candidate, champion, policy)
        return result

    def all(
        self, candidate: Manifest, champion: Manifest | None, policy: Policy, files: dict[str, Path] | None = None
    ) -> list[GateResult]:
        data = self.files if files is None else files
        results = evaluate(policy, candidate, champion, data=data, blobs=self.blobs)
        assert [result.gate for result in results] == [gate.kind for gate in policy.gates]
        json.dumps([result.figures for result in results], allow_nan=False)
        assert all(result.sentence and result.hint is not None for result in results)
        return results


@pytest.fixture(scope="session")
def bench(records: Records, blobs: DirectoryBlobs) -> Bench:
    return Bench(records, blobs)


def gates(*specs: GateSpec, label: str = thyroid.LABEL) -> Policy:
    return replace(policy_for(CONFIG, "prod"), gates=specs, label=label)


def test_a_good_first_release_passes_every_default_gate_of_prod(good: Manifest, bench: Bench) -> None:
    results = bench.all(good, None, policy_for(CONFIG, "prod"))
    assert worst(result.verdict for result in results) is PASS
    assert results[-1].sentence == "nothing is live yet, so there is nothing to be worse than"


def test_the_workbench_judges_and_tells_which_gate_is_at_work(
    good: Manifest, records: Records, blobs: DirectoryBlobs
) -> None:
    told: list[str] = []
    workbench: Workbench = PackageWorkbench(blobs, progress=told.append)
    policy = policy_for(CONFIG, "test")
    results = workbench.evaluate(policy, good, None, records.files)
    assert {result.verdict for result in results} == {PASS}
    assert [result.params for result in results] == [gate.params for gate in policy.gates]
    assert len(told) == len(policy.gates)
    assert told[0] == f"gate 1 of {len(told)}, format"
    assert told[1].startswith(f"gate 2 of {len(told)}, parity; format: pass, 0.")


def test_a_floor_is_held_with_its_interval_and_plots(good: Manifest, poor: Manifest, bench: Bench) -> None:
    passed = bench.one(good, None, "quality", metric="roc_auc", at_least=0.85)
    assert passed.verdict is PASS
    figures = passed.figures
    assert figures["low"] < figures["value"] < figures["high"]
    assert figures["rows"] == 1200
    assert 2 < len(figures["roc"]) <= 100
    assert figures["roc"][0] == [0, 0]
    assert figures["roc"][-1] == [1, 1]
    assert sum(figures["confusion"].values()) == 1200
    failed = bench.one(poor, None, "quality", metric="roc_auc", at_least=0.85)
    assert (failed.verdict, failed.name) == (FAIL, "roc_auc")
    assert failed.hint


def test_a_miss_that_may_be_chance_is_unknown_and_a_confidence_asks_for_room(good: Manifest, bench: Bench) -> None:
    value = bench.one(good, None, "quality", metric="roc_auc", at_least=0.5).figures["value"]
    assert bench.one(good, None, "quality", metric="roc_auc", at_least=value + 0.001).verdict is UNKNOWN
    assert bench.one(good, None, "quality", metric="roc_auc", at_least=value - 0.001).verdict is PASS
    narrow = bench.one(good, None, "quality", metric="roc_auc", at_least=value - 0.001, confidence=0.95)
    assert narrow.verdict is UNKNOWN


def test_a_ceiling_is_for_losses(good: Manifest, bench: Bench) -> None:
    assert bench.one(good, None, "quality", metric="log_loss", at_most=0.6).verdict is PASS
    assert bench.one(good, None, "quality", metric="log_loss", at_most=0.01).verdict is FAIL
    wrong = bench.one(good, None, "quality", metric="log_loss", at_least=0.01)
    assert (wrong.verdict, wrong.hint) == (UNKNOWN, "write at_most in place of at_least")


def test_a_high_risk_model_without_a_floor_is_told_to_name_one(good: Manifest, bench: Bench) -> None:
    result = bench.one(good, None, "quality", metric="auto")
    assert result.verdict is UNKNOWN
    assert "quality: {metric: roc_auc, at_least: ...}" in result.hint


@pytest.mark.parametrize("metric", ["bogus", "rmse"])
def test_a_metric_that_does_not_exist_or_fit_is_unknown(metric: str, good: Manifest, bench: Bench) -> None:
    result = bench.one(good, None, "quality", metric=metric, at_least=0.5)
    assert (result.verdict, result.name) == (UNKNOWN, metric)


def test_a_plainly_worse_candidate_is_refused(good: Manifest, poor: Manifest, bench: Bench) -> None:
    result = bench.one(poor, good, "regression", metric="roc_auc", margin=0.01)
    assert result.verdict is FAIL
    assert "worse than the live version's" in result.sentence
    assert result.figures["high"] < -0.01


def test_a_candidate_as_good_passes_both_ways_within_a_margin(good: Manifest, forest: Manifest, bench: Bench) -> None:
    for candidate, champion in ((good, forest), (forest, good)):
        result = bench.one(candidate, champion, "regression", metric="roc_auc", margin=0.05)
        assert result.verdict is PASS, result.sentence


def test_too_thin_evidence_is_unknown_and_says_how_many_rows_it_takes(
    forest: Manifest, good: Manifest, records: Records, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "few.parquet"
    records.holdout[:80].to_parquet(path)
    policy = gates(GateSpec(kind="regression", params={"metric": "accuracy", "margin": 0.01}))
    (result,) = bench.all(forest, good, policy, {"holdout": path})
    assert result.verdict is UNKNOWN
    assert "more" in result.hint
    records.holdout[:30].to_parquet(path)
    (result,) = bench.all(forest, good, policy, {"holdout": path})
    assert (result.verdict, result.sentence) == (UNKNOWN, "30 labelled rows, and 50 is the least")


def test_the_package_that_is_live_is_not_worse_than_itself(good: Manifest, bench: Bench) -> None:
    assert bench.one(good, good, "regression", metric="roc_auc").sentence == "this very package is live"


def test_worse_on_one_group_only_is_noticed(
    records: Records, good: Manifest, save: Saver, pack: Packer, bench: Bench
) -> None:
    frame, labels = records.inputs().copy(), records.labels().copy()
    men = frame["sex"] == "M"
    labels[men] = 1 - labels[men]
    model = pipeline(RandomForestClassifier(n_estimators=40, max_depth=14, random_state=1, n_jobs=1))
    biased = pack(save(model.fit(frame, labels), records.inputs("holdout")))
    result = bench.one(biased, good, "regression", metric="roc_auc", margin=0.5, slices=["sex"])
    assert result.verdict is FAIL
    assert "sex=M" in result.sentence
    gap = bench.one(biased, None, "slices", metric="roc_auc", by=["sex"], gap=0.2)
    assert gap.verdict is FAIL
    floor = bench.one(biased, None, "slices", metric="roc_auc", by=["sex"], at_least=0.7)
    assert floor.verdict is FAIL
    assert {entry["group"] for entry in floor.figures["slices"]} >= {"F", "M"}


def test_groups_of_a_fair_model_pass_and_small_groups_are_put_together(good: Manifest, bench: Bench) -> None:
    result = bench.one(good, None, "slices", metric="roc_auc", by=["referral_source", "age"], at_least=0.6, gap=0.35)
    assert result.verdict is PASS, result.sentence
    groups = [entry["group"] for entry in result.figures["slices"]]
    assert any(group.startswith("all others (") for group in groups)
    assert sum(entry["rows"] for entry in result.figures["slices"]) == 2400


def test_groups_too_small_to_measure_are_unknown(good: Manifest, bench: Bench) -> None:
    result = bench.one(good, None, "slices", metric="roc_auc", by=["sex"], at_least=0.6, least_rows=5000)
    assert result.verdict is UNKNOWN
    missing = bench.one(good, None, "slices", metric="roc_auc", by=["height"], at_least=0.6)
    assert (missing.verdict, "no column 'height'" in missing.sentence) == (UNKNOWN, True)


def test_latency_is_measured_and_a_load_adds_what_callers_wait(good: Manifest, bench: Bench) -> None:
    quick = bench.one(good, None, "latency", p99_ms=200, at_rps=20)
    assert quick.verdict is PASS
    assert quick.figures["calls"] == 3000
    assert bench.one(good, None, "latency", p99_ms=0.0001).verdict is FAIL
    rate = 2000 / max(quick.figures["p50_ms"], 1e-3)
    flooded = bench.one(good, None, "latency", p99_ms=200, at_rps=rate)
    assert flooded.figures["p99_ms"] > 20 * quick.figures["p50_ms"]


def test_latency_needs_no_data(good: Manifest, bench: Bench) -> None:
    (result,) = bench.all(good, None, gates(GateSpec(kind="latency", params={"p99_ms": 200})), {})
    assert result.verdict is PASS


def changed(manifest: Manifest, name: str, **fields: Any) -> Manifest:
    inputs = tuple(replace(column, **fields) if column.name == name else column for column in manifest.signature.inputs)
    return replace(manifest, signature=Signature(inputs=inputs, outputs=manifest.signature.outputs))


def test_a_signature_may_grow_optional_inputs_and_nothing_else(good: Manifest, bench: Bench) -> None:
    fewer = replace(good, signature=Signature(inputs=good.signature.inputs[:-1], outputs=good.signature.outputs))
    assert good.signature.inputs[-1].optional
    assert bench.one(good, fewer, "signature").verdict is PASS
    assert "is gone" in bench.one(fewer, good, "signature").sentence
    required = changed(good, good.signature.inputs[-1].name, optional=False)
    assert "new and required" in bench.one(required, fewer, "signature").sentence
    assert "was optional" in bench.one(required, good, "signature").sentence
    text = changed(good, "age", kind=Kind.TEXT)
    assert "text in place of number" in bench.one(text, good, "signature").sentence
    assert bench.one(changed(good, "sick", kind=Kind.NUMBER), good, "signature").verdict is PASS
    assert bench.one(good, changed(good, "sick", kind=Kind.NUMBER), "signature").verdict is FAIL
    assert "shape" in bench.one(changed(good, "age", shape=(3,)), good, "signature").sentence


def test_an_output_may_not_disappear_or_change_its_type(good: Manifest, bench: Bench) -> None:
    label, scores = good.signature.outputs
    outputs = {
        "is gone": (label,),
        "BYTES in place of INT64": (replace(label, datatype="BYTES"), scores),
    }
    for told, given in outputs.items():
        other = replace(good, signature=replace(good.signature, outputs=given))
        assert told in bench.one(other, good, "signature").sentence
    double = replace(good, signature=replace(good.signature, outputs=(label, replace(scores, datatype="FP64"))))
    assert bench.one(double, good, "signature").verdict is PASS
    assert bench.one(replace(good, classes=("1", "0")), good, "signature").verdict is FAIL


def test_pickle_is_refused_where_the_policy_says_so(good: Manifest, bench: Bench) -> None:
    pickled = replace(good, serialization="pickle")
    refused = bench.one(pickled, None, "format", refuse=["pickle"])
    assert (refused.verdict, "skops" in refused.hint) == (FAIL, True)
    assert bench.one(pickled, None, "format", refuse=[]).verdict is PASS


def test_what_was_not_compiled_fails_parity_and_leaves_the_rest_unknown(good: Manifest, bench: Bench) -> None:
    bare = replace(good, graph=None, not_compiled="no converter for Magic")
    results = bench.all(
        bare,
        None,
        gates(GateSpec(kind="parity"), GateSpec(kind="quality"), GateSpec(kind="latency", params={"p99_ms": 1})),
    )
    assert [result.verdict for result in results] == [FAIL, UNKNOWN, UNKNOWN]
    assert "no converter for Magic" in results[0].sentence


def test_a_model_that_answers_nan_fails_and_does_not_crash(
    records: Records, save: Saver, pack: Packer, bench: Bench
) -> None:
    frame = records.inputs()[["TSH", "T3"]]
    whole = frame.notna().all(axis=1)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(), LogisticRegression(max_iter=2000))
    careless = pack(save(model.fit(frame[whole], records.labels()[whole]), records.inputs("holdout")[["TSH", "T3"]]))
    result = bench.one(careless, None, "quality", metric="roc_auc", at_least=0.1)
    assert result.verdict is FAIL
    assert "something that is no number" in result.sentence


QUALITY = GateSpec(kind="quality", params={"metric": "roc_auc", "at_least": 0.5})
LAST = GateSpec(kind="signature")


Change = Callable[[pd.DataFrame], Any]
#: A holdout that cannot judge -> what the gate says of it.
USELESS: list[tuple[Change, str]] = [
    (lambda frame: frame.drop(columns=[thyroid.LABEL]), "no label column"),
    (lambda frame: frame.head(0), "no row"),
    (lambda frame: frame.query(f"{thyroid.LABEL} == 1"), "one class"),
    (lambda frame: frame.drop(columns=["TSH", "sex"]), "no column sex, TSH"),
    (lambda frame: frame.assign(**{thyroid.LABEL: "maybe"}), "holds maybe, and the model's classes are 0, 1"),
    (lambda frame: frame.assign(**{thyroid.LABEL: np.nan}), "empty in every row"),
    (lambda frame: frame.assign(TSH="high"), "does not fit the signature"),
    (lambda frame: frame.head(20), "50 are needed"),
]


@pytest.mark.parametrize(
    ("change", "told"),
    USELESS,
    ids=["no label", "empty", "one class", "other columns", "other labels", "empty labels", "text", "few rows"],
)
def test_a_holdout_that_cannot_judge_is_unknown_with_the_reason_and_the_next_gate_runs(
    change: Any, told: str, good: Manifest, records: Records, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "holdout.parquet"
    change(records.holdout).to_parquet(path)
    first, second = bench.all(good, None, gates(QUALITY, LAST), {"holdout": path})
    assert (first.verdict, second.verdict) == (UNKNOWN, PASS)
    assert told in first.sentence


def test_no_holdout_and_a_file_that_is_none_are_unknown(good: Manifest, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "holdout"
    path.write_bytes(b"PAR1nothing")
    for files, told in (({}, "there is no holdout data"), ({"holdout": path}, "cannot be read")):
        first, second = bench.all(good, None, gates(QUALITY, LAST), files)
        assert (first.verdict, second.verdict, told in first.sentence) == (UNKNOWN, PASS, True)


def test_a_blob_that_changed_or_is_gone_is_never_judged(good: Manifest, bench: Bench) -> None:
    assert good.graph is not None
    entry = replace(good.files[good.graph.path], digest="sha256:" + "0" * 64)
    lost = replace(good, files={**good.files, good.graph.path: entry})
    assert bench.one(lost, None, "quality", metric="roc_auc", at_least=0.5).verdict is UNKNOWN


def test_a_gate_nobody_knows_is_unknown(good: Manifest, bench: Bench) -> None:
    assert bench.one(good, None, "astrology").verdict is UNKNOWN


def test_rows_with_no_label_are_left_out(good: Manifest, records: Records, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "holdout.parquet"
    labels = records.holdout[thyroid.LABEL].astype("float64").where(records.holdout.index % 2 == 0)
    records.holdout.assign(**{thyroid.LABEL: labels}).to_parquet(path)
    (result,) = bench.all(good, None, gates(QUALITY), {"holdout": path})
    assert (result.verdict, result.figures["rows"]) == (PASS, 600)


def test_equal_seeds_give_equal_verdicts(good: Manifest, forest: Manifest, bench: Bench) -> None:
    first, second = (bench.one(forest, good, "regression", metric="f1", margin=0.02) for _ in range(2))
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


def test_a_regression_model_is_judged_by_its_own_metrics(
    save: Saver, pack: Packer, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    data: Any = load_diabetes(as_frame=True)
    path = tmp_path / "rows.parquet"
    pd.concat([data.data, data.target], axis=1).to_parquet(path)
    config = ModelConfig(model="diabetes", owner="team", data=DataConfig(label="target"))
    files = {"holdout": path, "training": path}
    manifest = pack(save(Ridge().fit(data.data, data.target), data.data), data=files, config=config)
    flat = pack(save(Ridge(alpha=1e6).fit(data.data, data.target), data.data), data=files, config=config)
    policy = replace(
        policy_for(config, "prod"),
        gates=(
            GateSpec(kind="quality", params={"metric": "rmse", "at_most": 70}),
            GateSpec(kind="quality", params={"metric": "accuracy", "at_least": 0.5}),
            GateSpec(kind="regression", params={"metric": "auto", "margin": 0.02}),
        ),
    )
    results = evaluate(policy, manifest, flat, data=files, blobs=blobs)
    assert [result.verdict for result in results] == [PASS, UNKNOWN, PASS]
    assert len(results[0].figures["predicted_against_true"]) == 10
    assert math.isclose(results[2].figures["champion"], 0, abs_tol=0.1)
    results = evaluate(policy, flat, manifest, data=files, blobs=blobs)
    assert [result.verdict for result in results] == [FAIL, UNKNOWN, FAIL]
