"""The gate ``explanation``: what a model goes by, found by shuffling one column after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import GateSpec
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest
from tests.policies import policy_for
from tests.unit.adapters.packages.conftest import CONFIG, Packer, Records, Saver, pipeline

Judge = Callable[..., GateResult]
Train = Callable[..., Manifest]


@pytest.fixture
def judge(records: Records, blobs: DirectoryBlobs) -> Judge:
    def judged(candidate: Manifest, champion: Manifest | None = None, **params: Any) -> GateResult:
        policy = replace(policy_for(CONFIG, "prod"), gates=(GateSpec(kind="explanation", params=params),))
        [found] = evaluate(policy, candidate, champion, data=records.files, blobs=blobs)
        json.dumps(found.figures, allow_nan=False)
        return found

    return judged


@pytest.fixture
def train(records: Records, save: Saver, pack: Packer) -> Train:
    """``train(label)``: a package of a model of the thyroid rows that learned this label."""

    def trained(label: Any, seed: int = 1) -> Manifest:
        model = LGBMClassifier(n_estimators=30, num_leaves=15, verbose=-1, n_jobs=1, random_state=seed)
        return pack(save(pipeline(model).fit(records.inputs(), label), records.inputs("holdout")))

    return trained


def by_sex(records: Records) -> Any:
    """A label that is little but the sex."""
    chance = np.random.default_rng(3).random(len(records.training)) < 0.1
    return ((records.training["sex"] == "F").to_numpy() ^ chance).astype(int)


def test_a_model_that_goes_by_a_forbidden_column_fails_and_says_how_much(
    records: Records, judge: Judge, train: Train
) -> None:
    found = judge(train(by_sex(records)), forbidden=["sex"], top=3)
    assert found.verdict is Verdict.FAIL
    assert "the model goes by sex (" in found.sentence
    assert "place 1), which it must not" in found.sentence
    shares = found.figures["checks"][0]["shares"]
    assert next(iter(shares)) == "sex"
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)


def test_a_model_that_goes_by_laboratory_values_passes(records: Records, judge: Judge, train: Train) -> None:
    manifest = train(records.labels())
    found = judge(manifest, forbidden=["sex", "pregnant_by_name"], top=2)
    assert found.verdict is Verdict.PASS
    assert found.sentence == "none of sex is among the 2 columns that the model goes by most"
    absent = judge(manifest, forbidden=["ethnicity"])
    assert (absent.verdict, absent.sentence) == (Verdict.PASS, "the model does not take ethnicity")


def test_two_models_of_one_world_agree_and_one_that_learned_something_else_does_not(
    records: Records, judge: Judge, train: Train
) -> None:
    live = train(records.labels())
    again = judge(train(records.labels(), seed=2), live, agreement=0.6)
    assert again.verdict is Verdict.PASS, again.sentence
    other = judge(train(by_sex(records)), live, agreement=0.9)
    assert other.verdict is not Verdict.PASS
    assert "at least 0.9 is asked for" in other.sentence
    first = judge(live, agreement=0.9)
    assert (first.verdict, first.sentence) == (Verdict.PASS, "nothing is live yet that it could agree with")


def test_too_few_rows_are_unknown(records: Records, blobs: DirectoryBlobs, train: Train, tmp_path: Any) -> None:
    path = tmp_path / "few.parquet"
    records.holdout.head(20).to_parquet(path)
    policy = replace(policy_for(CONFIG, "prod"), gates=(GateSpec(kind="explanation", params={"forbidden": ["sex"]}),))
    [found] = evaluate(policy, train(records.labels()), None, data={"holdout": path}, blobs=blobs)
    assert found.verdict is Verdict.UNKNOWN
    assert "too few" in found.sentence
