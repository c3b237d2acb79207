"""The gates data, behaviour, skill and regression on real records: what each catches, and that the sound go through."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.base.verdict import Verdict
from lockgate.demo import data as thyroid
from lockgate.domain.gates.config import GateSpec
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest
from tests.policies import policy_for
from tests.unit.adapters.packages.conftest import CONFIG, Packer, Records, Saver, pipeline

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
INPUTS, LABEL = list(thyroid.INPUTS), thyroid.LABEL

Judge = Callable[..., GateResult]
Train = Callable[..., Manifest]


@pytest.fixture
def judge(records: Records, blobs: DirectoryBlobs, tmp_path: Path) -> Judge:
    """``judge(kind, candidate, champion, params, training=…, holdout=…)``: what one gate says."""

    def judged(
        kind: str,
        candidate: Manifest,
        champion: Manifest | None = None,
        params: dict[str, Any] | None = None,
        **frames: pd.DataFrame | None,
    ) -> GateResult:
        files = dict(records.files)
        for role, frame in frames.items():
            files.pop(role, None)
            if frame is not None:
                files[role] = tmp_path / f"{role}.parquet"
                frame.to_parquet(files[role])
        policy = replace(policy_for(CONFIG, "prod"), subject="", gates=(GateSpec(kind=kind, params=params or {}),))
        (found,) = evaluate(policy, candidate, champion, data=files, blobs=blobs)
        json.dumps(found.figures, allow_nan=False)
        return found

    return judged


@pytest.fixture
def train(records: Records, save: Saver, pack: Packer) -> Train:
    """``train(rows, model)``: a package of a model that was trained on these rows."""

    def trained(rows: pd.DataFrame, model: Any = None, bend: Callable[[Any], None] | None = None) -> Manifest:
        made = pipeline(
            model or LGBMClassifier(n_estimators=40, num_leaves=15, verbose=-1, n_jobs=1, random_state=4)
        ).fit(rows[INPUTS], rows[LABEL])
        if bend is not None:
            bend(made["model"])
        return pack(save(made, records.inputs("holdout")))

    return trained


@pytest.fixture(scope="session")
def live(boosted: Path, pack: Packer) -> Manifest:
    return pack(boosted)


def _checks(found: GateResult) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in found.figures["checks"]}


def test_a_sound_model_passes_each_of_them(records: Records, judge: Judge, train: Train, live: Manifest) -> None:
    candidate = train(records.training.sample(frac=0.9, random_state=3))
    for kind in ("data", "behaviour", "skill"):
        found = judge(kind, candidate, live)
        assert found.verdict is PASS, found.sentence
    found = judge("regression", candidate, live, {"metric": "auto", "margin": 0.03, "confidence": 0.95})
    assert found.verdict is PASS, found.sentence


def test_holdout_rows_among_the_training_rows_are_found(records: Records, judge: Judge, live: Manifest) -> None:
    both = pd.concat([records.training, records.holdout.head(300)], ignore_index=True)
    found = judge("data", live, training=both)
    assert found.verdict is FAIL
    assert "of the holdout's rows stand in training too" in found.sentence
    assert _checks(found)["repeated rows"] == "fail"


def test_a_column_that_gives_the_answer_away_is_named(records: Records, judge: Judge, train: Train) -> None:
    def leaked(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(TT4=rows[LABEL] * 40.0 + np.random.default_rng(1).normal(size=len(rows)))

    training, holdout = leaked(records.training), leaked(records.holdout)
    found = judge("data", train(training), training=training, holdout=holdout)
    assert found.verdict is FAIL
    assert "TT4 alone loses" in found.sentence
    assert "when TT4 is filled in" in found.hint


def test_a_model_that_has_seen_the_holdout_is_told_by_how_well_it_knows_it(
    records: Records, judge: Judge, train: Train
) -> None:
    both = pd.concat([records.training, records.holdout], ignore_index=True)
    found = judge("data", train(both, DecisionTreeClassifier(random_state=0)))
    assert found.verdict is FAIL
    assert _checks(found)["learned by heart"] == "fail"


def test_wrong_labels_in_training_are_told_by_what_a_plain_model_makes_of_both_tables(
    records: Records, judge: Judge, live: Manifest
) -> None:
    chance = np.random.default_rng(0)
    wrong = records.training.assign(
        **{LABEL: np.where(chance.random(len(records.training)) < 0.3, 1 - records.labels(), records.labels())}
    )
    found = judge("data", live, training=wrong)
    assert found.verdict is FAIL
    assert _checks(found)["equally hard"] == "fail"


def test_tables_in_another_unit_than_the_live_versions_are_found(
    records: Records, judge: Judge, train: Train, live: Manifest
) -> None:
    def converted(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(TSH=rows["TSH"] * 18.0, TT4=rows["TT4"] / 18.0)

    training, holdout = converted(records.training), converted(records.holdout)
    found = judge("data", train(training), live, training=training, holdout=holdout)
    assert found.verdict is FAIL
    assert "TSH" in found.sentence
    assert "unlike what the live version learned from" in found.sentence


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"columns": {"age": {"max": 50}}}, "values lie outside"),
        ({"columns": {"sex": {"values": ["F"]}}}, "which is none of its values"),
        ({"columns": {"TSH": {"not_null": True}}}, "rows have no value"),
        ({"columns": {"moon": {}}}, "has no column 'moon'"),
        ({"columns": {"sex": {"min": 1}}}, "no number"),
        ({"key": ["sex"]}, "repeat a key of sex"),
        ({"least_rows": 5_000}, "5,000 are asked for"),
    ],
)
def test_what_the_file_declares_is_held_against_the_tables(
    params: dict[str, Any], said: str, judge: Judge, live: Manifest
) -> None:
    found = judge("data", live, None, params)
    assert found.verdict is FAIL
    assert said in found.sentence


def test_a_holdout_of_one_class_tells_nothing(records: Records, judge: Judge, live: Manifest) -> None:
    found = judge("data", live, holdout=records.holdout[records.holdout[LABEL] == 0])
    assert found.verdict is FAIL
    assert "one class" in found.sentence


def test_a_holdout_older_than_the_training_rows_is_found(records: Records, judge: Judge, live: Manifest) -> None:
    days = pd.date_range("2026-01-01", periods=len(records.training))
    training = records.training.assign(day=days)
    early = records.holdout.assign(day=pd.Timestamp("2025-06-01"))
    found = judge("data", live, None, {"time": "day"}, training=training, holdout=early)
    assert found.verdict is FAIL
    assert "not later than the last training row" in found.sentence


def _with_days(records: Records, **days: Any) -> dict[str, pd.DataFrame]:
    return {role: getattr(records, role).assign(day=days[role]) for role in ("training", "holdout")}


@pytest.mark.parametrize("role", ["training", "holdout"])
def test_rows_that_never_say_when_they_are_from_do_not_pass(
    role: str, records: Records, judge: Judge, live: Manifest
) -> None:
    days = {"training": pd.Timestamp("2025-06-01"), "holdout": pd.Timestamp("2026-06-01")} | {role: pd.NaT}
    found = judge("data", live, None, {"time": "day"}, **_with_days(records, **days))
    assert found.verdict is UNKNOWN
    assert "day, which says when a row is from, is empty" in found.sentence


def test_times_with_and_without_a_zone_are_compared(records: Records, judge: Judge, live: Manifest) -> None:
    days = {"training": pd.Timestamp("2025-06-01", tz="UTC"), "holdout": pd.Timestamp("2026-06-01")}
    assert judge("data", live, None, {"time": "day"}, **_with_days(records, **days)).verdict is PASS


def test_rows_that_differ_by_rounding_only_are_the_same_rows(records: Records, judge: Judge, live: Manifest) -> None:
    rounded = records.holdout.assign(**{name: records.holdout[name] * (1 + 1e-7) for name in thyroid.LABS})
    found = judge("data", live, training=pd.concat([records.training, rounded], ignore_index=True))
    assert found.verdict is FAIL
    assert _checks(found)["repeated rows"] == "fail"


def test_classes_drawn_in_shares_of_their_own_are_no_fault_and_other_rows_are(
    records: Records, judge: Judge, train: Train
) -> None:
    rows = records.training
    rare = rows[rows[LABEL] == 1]
    even = pd.concat([rows[rows[LABEL] == 0], rare.sample(len(rows), replace=True, random_state=1)], ignore_index=True)
    candidate = train(even)
    found = judge("data", candidate, training=even)
    assert found.verdict is PASS, found.sentence
    older = even[(even[LABEL] == 1) | (even["age"] > 60)]
    assert _checks(judge("data", candidate, training=older))["labels"] == "fail"


def test_without_training_rows_the_holdout_is_looked_at_alone(judge: Judge, live: Manifest) -> None:
    assert judge("data", live, training=None).verdict is PASS


def test_columns_in_another_order_in_training_show_as_a_lack_of_skill(
    records: Records, judge: Judge, train: Train
) -> None:
    labs = list(thyroid.LABS)
    turned = records.training.copy()
    turned[labs] = turned[[*labs[1:], labs[0]]].to_numpy()
    found = judge("skill", train(turned))
    assert found.verdict is FAIL
    assert "a plain model of the same rows" in found.sentence


def test_a_lost_threshold_shows_in_the_classes_that_are_predicted(records: Records, judge: Judge, train: Train) -> None:
    def shifted(model: Any) -> None:
        model.intercept_ = model.intercept_ - 6.0

    found = judge("skill", train(records.training, LogisticRegression(max_iter=3000), shifted))
    assert found.verdict is FAIL
    assert "predicted classes" in found.sentence
    assert "order of the rows" not in found.sentence


def test_one_answer_for_everybody_is_a_collapse(records: Records, judge: Judge, train: Train) -> None:
    def emptied(model: Any) -> None:
        model.coef_ = model.coef_ * 0.0

    found = judge("behaviour", train(records.training, LogisticRegression(max_iter=3000), emptied))
    assert found.verdict is FAIL
    assert _checks(found)["collapsed"] == "fail"
    assert _checks(found)["deterministic"] == "pass"


def test_what_the_file_expects_of_the_answers_is_asked(judge: Judge, live: Manifest) -> None:
    asked = {
        "invariance": [{"change": {"sex": ["F", "M"]}, "tolerance": 1.0}, {"change": {"moon": [1, 2]}}],
        "direction": [
            {"increase": "age", "by": 1, "expect": "up", "share": 0.0},
            {"increase": "TSH", "by": 500, "expect": "down"},
        ],
    }
    found = judge("behaviour", live, None, asked)
    checks = _checks(found)
    assert checks["invariance to sex"] == "pass"
    assert checks["invariance 2"] == "unknown"
    assert checks["direction of age"] == "pass"
    assert checks["direction of TSH"] == "fail"
    assert found.verdict is FAIL
    assert "go down or stay" in found.sentence


def test_a_candidate_that_is_worse_for_one_group_only_is_not_let_through(
    records: Records, judge: Judge, train: Train, live: Manifest
) -> None:
    rows = records.training.copy()
    men = rows["sex"] == "M"
    rows.loc[men, LABEL] = 1 - rows.loc[men, LABEL]
    found = judge("regression", train(rows), live, {"metric": "auto", "margin": 0.3, "confidence": 0.95})
    assert found.verdict is FAIL
    assert "sex=M" in found.sentence


def test_groups_that_are_treated_alike_pass_and_others_do_not(
    records: Records, judge: Judge, train: Train, live: Manifest
) -> None:
    asked = {"metric": "selection_rate", "by": ["sex"], "gap": 0.2, "least_rows": 20}
    assert judge("fairness", live, None, asked).verdict is PASS
    rows = records.training.assign(**{LABEL: (records.training["sex"] == "M").astype(int)})
    found = judge("fairness", train(rows), None, asked)
    assert found.verdict is FAIL
    assert "selection_rate by sex" in found.sentence
    assert "0.2 is allowed" in found.sentence


def test_fairness_is_unknown_where_a_group_is_too_small_or_there_is_none(judge: Judge, live: Manifest) -> None:
    small = {"metric": "accuracy", "by": ["sex"], "at_least": 0.5, "least_rows": 100}
    found = judge("fairness", live, None, small)
    assert found.verdict is UNKNOWN
    assert "fewer than 100 rows: unknown" in found.sentence
    assert judge("fairness", live, None, small | {"by": ["moon"]}).verdict is UNKNOWN


def test_a_floor_that_a_group_misses_is_told_by_its_name(judge: Judge, live: Manifest) -> None:
    found = judge("fairness", live, None, {"metric": "true_positive_rate", "by": ["sex"], "at_least": 0.995})
    assert found.verdict is not PASS
    assert "missed by" in found.sentence


def test_scores_that_lost_their_meaning_are_found_though_their_order_is_as_good(
    records: Records, judge: Judge, train: Train
) -> None:
    def flattened(model: Any) -> None:
        model.coef_, model.intercept_ = model.coef_ * 0.05, model.intercept_ * 0.05

    plain = LogisticRegression(max_iter=3000)
    before, after = train(records.training, plain), train(records.training, plain, flattened)
    found = judge("regression", after, before, {"metric": "auto", "margin": 0.02, "confidence": 0.95})
    assert found.verdict is FAIL
    assert "distance from the truth" in found.sentence or "Brier" in found.sentence
