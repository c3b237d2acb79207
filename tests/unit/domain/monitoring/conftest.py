"""Data that the monitoring tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Column, Kind, Signature

Columns = dict[str, NDArray[Any]]

SIGNATURE = Signature(
    inputs=(
        Column(name="age", kind=Kind.NUMBER, datatype="FP64"),
        Column(name="income", kind=Kind.NUMBER, datatype="FP64"),
        Column(name="visits", kind=Kind.INTEGER, datatype="INT64"),
        Column(name="smoker", kind=Kind.BOOLEAN, datatype="BOOL"),
        Column(name="sex", kind=Kind.TEXT, datatype="BYTES"),
    ),
    outputs=(),
)
CLASSES = ("0", "1")


def rows_of(rng: np.random.Generator, rows: int) -> Columns:
    """Rows without any drift."""
    income = np.exp(rng.normal(size=rows))
    income[rng.random(rows) < 0.05] = np.nan
    return {
        "age": rng.normal(50, 10, rows),
        "income": income,
        "visits": rng.poisson(2, rows),
        "smoker": rng.random(rows) < 0.3,
        "sex": rng.choice(np.array(["F", "M"], dtype=object), rows, p=[0.65, 0.35]),
    }


@pytest.fixture(scope="session")
def baseline() -> Baseline:
    """20,000 rows of training, a two-class model."""
    rng = np.random.default_rng(1)
    columns, scores = rows_of(rng, 20_000), rng.beta(2, 5, 20_000)
    return build(columns, SIGNATURE, scores, (scores > 0.5).astype(int), classes=CLASSES)


@pytest.fixture
def window(baseline: Baseline) -> Callable[..., Profile]:
    """``window(rng, rows, age=array, ...)``: the profile of fresh rows, some columns replaced."""

    def make(rng: np.random.Generator, rows: int, scores: NDArray[Any] | None = None, **changed: Any) -> Profile:
        given = rng.beta(2, 5, rows) if scores is None else scores
        profile = Profile.empty(baseline)
        profile.fold(rows_of(rng, rows) | changed, given, (given > 0.5).astype(int))
        profile.count(requests=rows, rows=rows)
        return profile

    return make


@pytest.fixture
def fresh() -> Callable[[np.random.Generator, int], Columns]:
    """Rows without any drift."""
    return rows_of


@pytest.fixture
def signature() -> Signature:
    return SIGNATURE
