from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.cells import add_packed, pack, unpack
from lockgate.domain.monitoring.layout import Failure
from lockgate.domain.monitoring.profile import Profile, merge_all
from lockgate.domain.registry.manifest import Column, Kind, Signature

SMALL = build(
    {"x": np.arange(20.0), "t": np.array(["a", "b"] * 10, dtype=object)},
    Signature(
        inputs=(
            Column(name="x", kind=Kind.NUMBER, datatype="FP64"),
            Column(name="t", kind=Kind.TEXT, datatype="BYTES"),
        ),
        outputs=(),
    ),
    np.linspace(0, 1, 20),
    np.array(["no", "yes"] * 10),
    classes=("no", "yes"),
)
ROWS = st.lists(
    st.tuples(
        st.floats(allow_nan=True, allow_infinity=True),
        st.sampled_from(["a", "b", "c", None]),
        st.floats(0, 1),
        st.sampled_from(["no", "yes"]),
    ),
    max_size=30,
)


def folded(rows: list[Any]) -> Profile:
    profile = Profile.empty(SMALL)
    if rows:
        numbers, texts, scores, labels = zip(*rows, strict=True)
        columns: dict[str, NDArray[Any]] = {"x": np.array(numbers), "t": np.array(texts, dtype=object)}
        profile.fold(columns, np.array(scores), np.array(labels))
    profile.count(requests=len(rows), rows=len(rows), errors={"timeout": 1}, latencies_us=[100.0] * len(rows))
    return profile


@given(ROWS, ROWS, ROWS)
def test_profiles_add_up_in_any_order(first: list[Any], second: list[Any], third: list[Any]) -> None:
    a, b, c = folded(first), folded(second), folded(third)
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(Profile.empty(SMALL)) == a
    assert merge_all([c, a, b], SMALL) == a.merge(b).merge(c)


@given(ROWS, ROWS)
def test_folding_at_once_is_folding_in_parts(first: list[Any], second: list[Any]) -> None:
    whole, parts = folded(first + second), folded(first).merge(folded(second))
    for feature in SMALL.watched:
        assert whole.histogram(feature.name).tolist() == parts.histogram(feature.name).tolist()
        assert whole.missing(feature.name) == parts.missing(feature.name)
        assert whole.outside(feature.name) == parts.outside(feature.name)


@given(ROWS)
def test_every_row_is_counted_once_in_each_feature(rows: list[Any]) -> None:
    profile = folded(rows)
    for feature in SMALL.watched:
        assert int(profile.histogram(feature.name).sum()) + profile.missing(feature.name) == len(rows)


@given(ROWS, ROWS)
def test_bytes_come_back_and_add_up_without_the_baseline(first: list[Any], second: list[Any]) -> None:
    a, b = folded(first), folded(second)
    assert Profile.decode(a.encode(), SMALL) == a
    assert Profile.decode(add_packed([a.encode(), b.encode()]), SMALL) == a.merge(b)


@given(st.lists(st.integers(-(2**62), 2**62), max_size=40))
def test_any_whole_numbers_come_back(numbers: list[int]) -> None:
    key, cells = unpack(pack(b"12345678", np.array(numbers, dtype=np.int64)))
    assert key == b"12345678"
    assert cells.tolist() == numbers


@given(st.binary(max_size=80))
def test_damaged_bytes_are_refused(noise: bytes) -> None:
    whole = folded([]).encode()
    for data in (noise, whole[:-3], whole + b"x", whole[:18] + noise):
        if data != whole:
            with pytest.raises(Invalid):
                Profile.decode(data, SMALL)


def test_profiles_of_different_baselines_do_not_add_up(baseline: Baseline) -> None:
    other, own = Profile.empty(baseline), folded([])
    with pytest.raises(Invalid, match="different baselines"):
        own.merge(other)
    with pytest.raises(Invalid, match="different baselines"):
        merge_all([other], SMALL)
    with pytest.raises(Invalid, match="different baselines"):
        add_packed([own.encode(), other.encode()])
    with pytest.raises(Invalid, match="another baseline"):
        Profile.decode(other.encode(), SMALL)


def test_values_never_seen_are_counted_apart() -> None:
    profile = folded(
        [(-5.0, "a", 0.5, "no"), (30.0, "c", 0.5, "no"), (np.nan, None, 0.5, "yes"), (3.0, "b", 0.1, "no")]
    )
    assert profile.outside("x") == (1, 1)
    assert profile.unseen("t") == 1
    assert profile.missing_share("x") == 0.25
    assert profile.missing_share("t") == 0.25
    assert profile.histogram("predicted class")[:2].tolist() == [3, 1]


def test_a_column_that_is_not_given_is_missing() -> None:
    profile = Profile.empty(SMALL)
    profile.fold({"x": np.array([1.0, 2.0])})
    assert profile.missing("t") == 2
    assert profile.missing("prediction") == 2


def test_a_matrix_folds_like_its_columns() -> None:
    columns = {"a": np.arange(50.0), "b": np.arange(50.0) ** 2}
    inputs = tuple(Column(name=name, kind=Kind.NUMBER, datatype="FP32") for name in columns)
    found = build(columns, Signature(inputs=inputs, outputs=()))
    by_matrix, by_columns = Profile.empty(found), Profile.empty(found)
    matrix = np.stack(list(columns.values()), axis=1)
    by_matrix.fold(matrix.astype(np.float32))
    by_columns.fold(columns)
    assert by_matrix == by_columns
    with pytest.raises(Invalid, match="matrix"):
        by_matrix.fold(np.zeros((3, 5)))


def test_a_class_may_be_named_by_its_number() -> None:
    found = build({}, Signature(inputs=(), outputs=()), np.zeros(4), np.array([0, 1, 1, 1]), classes=("0", "1"))
    profile = Profile.empty(found)
    profile.fold({}, np.zeros(3), np.array([1, 0, 1]))
    assert found.label is not None
    assert dict(zip(found.label.categories, profile.histogram(found.label.name).tolist(), strict=False)) == {
        "1": 2,
        "0": 1,
    }


def test_few_rows_and_many_fall_into_the_same_bins(
    baseline: Baseline, fresh: Callable[[np.random.Generator, int], dict[str, Any]]
) -> None:
    columns = fresh(np.random.default_rng(5), 40)
    scores = np.linspace(0, 1, 40)
    together, alone = Profile.empty(baseline), Profile.empty(baseline)
    together.fold(columns, scores, scores > 0.5)
    for row in range(40):
        one = {name: values[row : row + 1] for name, values in columns.items()}
        alone.fold(one, scores[row : row + 1], scores[row : row + 1] > 0.5)
    assert alone == together


def test_the_mean_is_that_of_the_rows(baseline: Baseline) -> None:
    ages = np.random.default_rng(2).normal(58, 12, 3000)
    profile = Profile.empty(baseline)
    profile.fold({"age": ages})
    assert profile.mean("age") == pytest.approx(ages.mean(), abs=0.01)
    assert profile.mean("sex") is None


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_latency_quantiles_are_right_to_about_five_percent(q: float) -> None:
    taken = np.random.default_rng(3).lognormal(7, 1, 5000)
    profile = Profile.empty(SMALL)
    profile.count(requests=5000, latencies_us=taken)
    found = profile.quantile(q)
    assert found is not None
    assert found == pytest.approx(float(np.quantile(taken, q)), rel=0.06)
    assert profile.slower_than(found) == pytest.approx((1 - q) * 5000, abs=120)


def test_latencies_off_the_scale_are_kept_at_its_ends() -> None:
    profile = Profile.empty(SMALL)
    profile.count(latencies_us=[0.0, 1e12])
    assert int(profile.latencies.sum()) == 2


def test_errors_are_counted_by_kind() -> None:
    profile = Profile.empty(SMALL)
    assert not profile
    assert profile.error_share() is None
    assert profile.quantile(0.5) is None
    profile.count(requests=10, rows=12, errors={"model_error": 1, Failure.INVALID_OUTPUT: 2, "timeout": 1})
    assert profile.error_share() == 0.2
    assert profile.error_share(Failure.INVALID_OUTPUT) == 0.2
    assert (profile.requests, profile.rows, profile.folded) == (10, 12, 0)
    with pytest.raises(ValueError, match="nonsense"):
        profile.count(errors={"nonsense": 1})


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(Invalid, match="length"):
        Profile.empty(SMALL).fold({"x": np.zeros(2)}, np.zeros(3))


def test_an_unknown_feature_is_refused() -> None:
    with pytest.raises(Invalid, match="watched"):
        Profile.empty(SMALL).histogram("y")


def test_a_flush_costs_little_and_takes_little_room() -> None:
    rng = np.random.default_rng(0)
    names = [f"f{index}" for index in range(25)]
    inputs = tuple(Column(name=name, kind=Kind.NUMBER, datatype="FP64") for name in names)
    found = build({name: rng.normal(size=5000) for name in names}, Signature(inputs=inputs, outputs=()))
    profile, rows = Profile.empty(found), rng.normal(size=(500, 25))
    took: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        profile.fold(rows)
        took.append(time.perf_counter() - began)
    # Measured about 0.9 ms; the limit leaves room for a busy machine.
    assert min(took) < 0.01
    once = Profile.empty(found)
    once.fold(rows)
    assert len(once.encode()) < 10_000
