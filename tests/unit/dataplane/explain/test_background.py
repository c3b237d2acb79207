from __future__ import annotations

import numpy as np
import pytest

from lockgate.dataplane.explain.background import background
from lockgate.dataplane.intake import Intake
from lockgate.domain.monitoring.baseline import build, decode
from lockgate.domain.registry.manifest import Column, Kind, Output, Signature

CHANCE = np.random.default_rng(1)
ROWS = 2_000
SIGNATURE = Signature(
    inputs=(
        Column(name="tsh", kind=Kind.NUMBER, datatype="FP64", optional=True, low=0.0, high=50.0),
        Column(name="age", kind=Kind.INTEGER, datatype="INT64", low=18, high=90),
        Column(name="sex", kind=Kind.TEXT, datatype="BYTES", categories=("F", "M")),
        Column(name="smoker", kind=Kind.BOOLEAN, datatype="BOOL"),
        Column(name="scan", kind=Kind.NUMBER, datatype="FP32", shape=(3,)),
    ),
    outputs=(Output(name="prediction", datatype="FP64"),),
)
TSH = np.where(CHANCE.random(ROWS) < 0.2, np.nan, CHANCE.exponential(2.0, ROWS))
TRAINING = {
    "tsh": TSH,
    "age": CHANCE.integers(18, 91, ROWS),
    "sex": CHANCE.choice(["F", "M"], ROWS, p=[0.8, 0.2]).astype(object),
    "smoker": CHANCE.random(ROWS) < 0.1,
    "scan": CHANCE.normal([0, 10, 20], 1, (ROWS, 3)),
}


@pytest.fixture(scope="module")
def intake() -> Intake:
    return Intake.of_signature(SIGNATURE)


def test_rows_are_like_those_of_training_column_by_column(intake: Intake):
    baseline = decode(build(TRAINING, SIGNATURE).encode())
    tsh, age, sex, smoker, scan = background(intake, baseline, 3_000)
    assert np.isnan(tsh).mean() == pytest.approx(0.2, abs=0.04)
    assert np.nanmean(tsh) == pytest.approx(np.nanmean(TSH), rel=0.15)
    assert np.nanmax(tsh) <= np.nanmax(TSH) + 1e-3
    assert age.dtype == np.int64
    assert (age.min() >= 18, age.max() <= 90) == (True, True)
    assert age.mean() == pytest.approx(54, abs=2)
    assert (sex == "F").mean() == pytest.approx(0.8, abs=0.04)
    assert smoker.mean() == pytest.approx(0.1, abs=0.03)
    assert scan.shape == (3_000, 3)
    assert scan.mean(axis=0) == pytest.approx([0, 10, 20], abs=0.3)


def test_the_same_seed_draws_the_same_rows(intake: Intake):
    baseline = build(TRAINING, SIGNATURE)
    first, again, other = (background(intake, baseline, 50, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


def test_no_drawn_row_is_a_row_of_training(intake: Intake):
    drawn = background(intake, build(TRAINING, SIGNATURE), 200)[0]
    assert not np.isin(drawn[~np.isnan(drawn)], TSH).any()


def test_without_a_baseline_the_signature_says_what_is_usual(intake: Intake):
    tsh, age, sex, _, _ = background(intake, build({}, SIGNATURE), 100)
    assert (tsh.min() >= 0, tsh.max() <= 50) == (True, True)
    assert (age.min() >= 18, age.max() <= 90) == (True, True)
    assert set(sex.ravel()) == {"F", "M"}
