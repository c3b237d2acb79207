from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.baseline import Baseline, build, decode, leading_score
from lockgate.domain.monitoring.components import polynomials
from lockgate.domain.monitoring.feature import FeatureKind, quantile_edges
from lockgate.domain.registry.manifest import Column, Kind, Signature


def one_column(kind: Kind, values: Any, shape: tuple[int, ...] = ()) -> Baseline:
    column = Column(name="x", kind=kind, datatype="FP64", shape=shape)
    return build({"x": np.asarray(values)}, Signature(inputs=(column,), outputs=()))


def test_it_comes_back_from_bytes_exactly(baseline: Baseline) -> None:
    back = decode(baseline.encode())
    assert back.encode() == baseline.encode()
    assert back.key == baseline.key
    assert [feature.name for feature in back.watched] == [feature.name for feature in baseline.watched]


def test_it_stays_small(baseline: Baseline) -> None:
    assert len(baseline.encode()) < 20_000


@given(
    hnp.arrays(np.float64, st.integers(0, 300), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=50),
)
def test_any_numbers_and_texts_make_a_baseline_that_comes_back(numbers: Any, texts: list[str | None]) -> None:
    for found in (one_column(Kind.NUMBER, numbers), one_column(Kind.TEXT, np.array(texts, dtype=object))):
        feature = found.features[0]
        assert decode(found.encode()).encode() == found.encode()
        assert feature.rows == found.rows
        assert (np.diff(feature.edges) >= 0).all()
        assert np.isfinite(feature.scale)
        assert feature.scale > 0


@pytest.mark.parametrize("damage", [b"", b"LGBL\x01", b"something else", b"LGBL\x01" + b"\xff" * 50])
def test_other_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(Invalid):
        decode(damage)


def test_a_cut_off_baseline_is_refused(baseline: Baseline) -> None:
    with pytest.raises(Invalid):
        decode(baseline.encode()[:-10])


def test_quantile_bins_hold_about_equally_many_rows() -> None:
    feature = one_column(Kind.NUMBER, np.random.default_rng(0).normal(size=12_800)).features[0]
    assert len(feature.counts) == 128
    assert feature.counts.min() >= 99
    assert feature.counts.max() <= 101


def test_few_values_have_a_bin_each_and_stay_in_it_when_rounded() -> None:
    values = np.repeat(np.array([0.1, 0.2, 0.3]), 5)
    edges = one_column(Kind.NUMBER, values).features[0].edges
    assert np.searchsorted(edges, values.astype(np.float32)).tolist() == np.searchsorted(edges, values).tolist()
    assert len(edges) == 2


def test_neighbouring_floats_are_told_apart() -> None:
    value = 1.0
    above = float(np.nextafter(value, 2.0))
    edges = quantile_edges(np.array([value, above]), 128)
    assert np.searchsorted(edges, [value, above]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "missing", "bins"),
    [([7.0] * 10, 0, 1), ([np.nan] * 10, 10, 1), ([], 0, 1), ([1e308, -1e308] * 5, 0, 2)],
)
def test_constant_empty_and_huge_columns_are_counted(values: list[float], missing: int, bins: int) -> None:
    feature = one_column(Kind.NUMBER, np.array(values, dtype=np.float64)).features[0]
    assert feature.missing == missing
    assert len(feature.counts) == bins
    assert feature.present == len(values) - missing


def test_a_tensor_column_is_watched_element_by_element() -> None:
    found = one_column(Kind.NUMBER, np.random.default_rng(0).normal(size=(200, 3)), (3,))
    assert [feature.name for feature in found.features] == ["x[0]", "x[1]", "x[2]"]


def test_a_tensor_of_thousands_is_told_to_be_unwatched() -> None:
    feature = one_column(Kind.NUMBER, np.zeros((3, 2000)), (2000,)).features[0]
    assert feature.kind is FeatureKind.UNWATCHED
    assert feature.reason


def test_text_with_more_values_than_are_listed_keeps_the_commonest() -> None:
    texts = ["common"] * 50 + [f"id-{index}" for index in range(400)]
    feature = one_column(Kind.TEXT, np.array(texts, dtype=object)).features[0]
    assert feature.open
    assert feature.categories[0] == "common"
    assert int(feature.counts.sum()) == 450


def test_columns_of_different_lengths_are_refused() -> None:
    columns = (Column(name="a", kind=Kind.NUMBER, datatype="FP64"), Column(name="b", kind=Kind.NUMBER, datatype="FP64"))
    with pytest.raises(Invalid, match="length"):
        build({"a": np.zeros(3), "b": np.zeros(4)}, Signature(inputs=columns, outputs=()))


def test_text_among_numbers_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="'x'"):
        one_column(Kind.NUMBER, np.array(["1", "two"], dtype=object))


def test_an_input_named_prediction_does_not_hide_the_predictions() -> None:
    column = Column(name="prediction", kind=Kind.NUMBER, datatype="FP64")
    values = np.arange(10.0)
    found = build({"prediction": values}, Signature(inputs=(column,), outputs=()), values)
    assert len({feature.name for feature in found.watched}) == 2


def test_the_leading_score_is_the_positive_class_or_the_largest() -> None:
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1]])
    assert leading_score(probabilities, 1).tolist() == [0.8, 0.1]
    assert leading_score(probabilities, None).tolist() == [0.8, 0.9]
    assert leading_score(probabilities[:, :1], None).tolist() == [0.2, 0.9]
    assert leading_score(probabilities[:, 0], None).tolist() == [0.2, 0.9]


@given(hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 50)))
def test_the_polynomials_are_orthonormal_under_the_baseline(counts: Any) -> None:
    directions = polynomials(counts)
    if len(directions):
        share = counts / counts.sum()
        assert np.allclose(directions * share @ directions.T, np.eye(len(directions)), atol=1e-6)
        assert np.allclose(directions @ share, 0, atol=1e-6)
