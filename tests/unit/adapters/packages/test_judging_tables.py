"""The gate data on tables made for it: subjects by any spelling, sorted tables, and models that suit their data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.build import build
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import DataConfig, GateSpec, ModelConfig
from lockgate.domain.gates.records import GateResult
from tests.policies import policy_for
from tests.unit.adapters.packages.conftest import Saver

INPUTS = [f"x{index}" for index in range(6)]
LABEL, SUBJECT = "outcome", "person"

Judge = Callable[..., GateResult]


def _linear(rows: int, seed: int) -> pd.DataFrame:
    """A number that is a plain sum of the inputs, and a little noise."""
    chance = np.random.default_rng(seed)
    values = chance.normal(size=(rows, len(INPUTS)))
    label = values @ np.arange(1.0, 7.0) + chance.normal(size=rows)
    return pd.DataFrame(values, columns=pd.Index(INPUTS)).assign(**{LABEL: label})


def _classes(rows: int, seed: int) -> pd.DataFrame:
    frame = _linear(rows, seed)
    chance = np.random.default_rng(seed + 100)
    return frame.assign(**{LABEL: (frame[LABEL] + 4 * chance.normal(size=rows) > 0).astype("int64")})


@pytest.fixture
def judge(save: Saver, blobs: DirectoryBlobs, tmp_path: Path) -> Judge:
    """``judge(model, training, holdout, learned=…, subject=…)``: what the gate says of a model of the training rows."""

    def judged(
        model: Any, training: pd.DataFrame, holdout: pd.DataFrame, learned: Any = None, subject: str = ""
    ) -> GateResult:
        files = {"training": tmp_path / "training.parquet", "holdout": tmp_path / "holdout.parquet"}
        training.to_parquet(files["training"])
        holdout.to_parquet(files["holdout"])
        rows: Any = training if learned is None else learned
        folder = save(model.fit(rows[INPUTS], rows[LABEL]), training[INPUTS], serialization_format="cloudpickle")
        config = ModelConfig(model="tables", owner="tests", data=DataConfig(label=LABEL, subject=subject))
        manifest = build(folder, data=files, config=config, facts={}, blobs=blobs)
        policy = replace(policy_for(config, "prod"), gates=(GateSpec(kind="data"),))
        (found,) = evaluate(policy, manifest, None, data=files, blobs=blobs)
        return found

    return judged


def _check(found: GateResult, name: str) -> str:
    return next(check["verdict"] for check in found.figures["checks"] if check["name"] == name)


def test_a_model_that_suits_its_data_has_not_learned_the_holdout_by_heart(judge: Judge) -> None:
    found = judge(LinearRegression(), _linear(600, 1), _linear(400, 2))
    assert found.verdict is Verdict.PASS, found.sentence


@pytest.mark.parametrize("model", [DecisionTreeRegressor(random_state=0), KNeighborsRegressor(1)])
def test_a_model_that_learned_the_holdout_by_heart_is_told_though_a_plain_one_suits(model: Any, judge: Judge) -> None:
    training, holdout = _linear(600, 1), _linear(400, 2)
    found = judge(model, training, holdout, learned=pd.concat([training, holdout], ignore_index=True))
    assert _check(found, "learned by heart") == "fail"


def test_a_subject_is_known_by_any_spelling_of_its_number(judge: Judge) -> None:
    training, holdout = _classes(500, 1), _classes(300, 2)
    people = np.arange(300, dtype=np.float64)
    people[7] = np.nan
    found = judge(
        LogisticRegression(),
        training.assign(**{SUBJECT: np.arange(500)}),
        holdout.assign(**{SUBJECT: people}),
        subject=SUBJECT,
    )
    assert found.verdict is Verdict.FAIL
    assert "299 of the holdout's 299 by person" in found.sentence


def test_an_empty_column_of_subjects_tells_nothing(judge: Judge) -> None:
    training, holdout = _classes(500, 1), _classes(300, 2)
    found = judge(
        LogisticRegression(),
        training.assign(**{SUBJECT: np.arange(500)}),
        holdout.assign(**{SUBJECT: np.nan}),
        subject=SUBJECT,
    )
    assert found.verdict is Verdict.UNKNOWN
    assert "is empty in every row of a table" in found.sentence


def test_a_telling_column_is_found_in_a_table_sorted_by_its_label(judge: Judge) -> None:
    def leaked(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
        told = rows[LABEL] * 4.0 + 0.2 * np.random.default_rng(seed).normal(size=len(rows))
        return rows.assign(x5=told).sort_values(LABEL, ignore_index=True)

    found = judge(LogisticRegression(), leaked(_classes(8_000, 1), 3), leaked(_classes(8_000, 2), 4))
    assert _check(found, "telling column") == "fail"
    assert "x5 alone loses" in found.sentence


def test_the_order_of_large_tables_tells_nothing(judge: Judge) -> None:
    training, holdout = _classes(50_000, 1), _classes(50_000, 2)
    found = judge(LogisticRegression(), training, holdout.sort_values("x0", ignore_index=True))
    assert found.verdict is Verdict.PASS, found.sentence
