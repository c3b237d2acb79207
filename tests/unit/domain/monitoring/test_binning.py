from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.binning import MANY_ROWS, count_each, count_sorted
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Column, Kind, Signature

#: Few values, so that they come often and lie on edges; and any at all.
COMMON = st.sampled_from([0.0, -0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, -7.25, 1e-45, 5e-324, 3.5e38, -3.5e38])
SEEN = st.lists(COMMON | st.floats(-1e300, 1e300) | st.just(np.nan), max_size=40)
FRESH = COMMON | st.sampled_from([np.nan, np.inf, -np.inf]) | st.floats()


def trained(columns: list[list[float]]) -> Baseline:
    """On columns of any lengths, filled up with what is missing; no column at all has a value in the worst case."""
    rows = max(len(column) for column in columns)
    filled = {f"x{at}": np.array(column + [np.nan] * (rows - len(column))) for at, column in enumerate(columns)}
    inputs = tuple(Column(name=name, kind=Kind.NUMBER, datatype="FP64") for name in filled)
    return build(filled, Signature(inputs=inputs, outputs=()), np.linspace(0, 1, 9), classes=("no", "yes"))


def drawn(draw: st.DataObject, baseline: Baseline, dtype: Any) -> NDArray[Any]:
    """Values for each number of the baseline, among them its own edges and the ends of its support."""
    rows = draw.draw(st.integers(0, 40))
    values = np.empty((len(baseline.layout.numbers), rows))
    for row, feature in enumerate(baseline.layout.numbers):
        own = st.sampled_from([feature.low, feature.high, *feature.edges.tolist()])
        near = own.map(lambda value: float(np.nextafter(value, np.inf)))
        values[row] = draw.draw(st.lists(FRESH | own | near, min_size=rows, max_size=rows))
    with np.errstate(over="ignore"):
        return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(columns=st.lists(SEEN, min_size=1, max_size=3), draw=st.data())
def test_sorted_values_fall_into_the_bins_that_each_has_by_itself(
    dtype: Any, columns: list[list[float]], draw: st.DataObject
) -> None:
    baseline = trained(columns)
    values = drawn(draw, baseline, dtype)
    each, wide, in_order = (np.zeros(baseline.layout.size, dtype=np.int64) for _ in range(3))
    count_each(each, baseline.layout, values)
    count_each(wide, baseline.layout, values.astype(np.float64))
    count_sorted(in_order, baseline.layout, values)
    assert in_order.tolist() == each.tolist() == wide.tolist()


@given(seen=SEEN, fresh=st.lists(st.tuples(FRESH, FRESH, st.floats(0, 1)), max_size=30), matrix=st.booleans())
def test_many_rows_count_as_the_same_rows_one_by_one(
    seen: list[float], fresh: list[tuple[float, float, float]], matrix: bool
) -> None:
    baseline = trained([seen, [1.0, 2.0, 2.0]])
    with np.errstate(over="ignore"):
        rows = np.array(fresh * MANY_ROWS, dtype=np.float32).reshape(-1, 3)[: MANY_ROWS + 3]
    table, scores = rows[:, :2], rows[:, 2]
    columns = {"x0": table[:, 0], "x1": table[:, 1:]}
    whole, parts = Profile.empty(baseline), Profile.empty(baseline)
    whole.fold(table if matrix else columns, scores)
    for row in range(len(rows)):
        parts.fold({name: values[row : row + 1] for name, values in columns.items()}, scores[row : row + 1])
    assert whole == parts


def test_numbers_beside_a_boolean_are_found_in_a_matrix() -> None:
    chance = np.random.default_rng(3)
    named = {"a": chance.normal(size=300), "flag": chance.random(300) > 0.5, "b": chance.normal(size=300)}
    kinds = (Kind.NUMBER, Kind.BOOLEAN, Kind.NUMBER)
    inputs = tuple(Column(name=name, kind=kind, datatype="FP64") for name, kind in zip(named, kinds, strict=True))
    baseline = build(named, Signature(inputs=inputs, outputs=()))
    by_name, by_matrix = Profile.empty(baseline), Profile.empty(baseline)
    by_name.fold(named)
    by_matrix.fold(np.stack(list(named.values()), axis=1))
    for name in ("a", "b"):
        assert by_matrix.histogram(name).tolist() == by_name.histogram(name).tolist()
        assert by_matrix.mean(name) == by_name.mean(name)


def test_values_of_several_types_keep_their_own_categories() -> None:
    texts = np.array(["true", "1", "1.0"] * 4, dtype=object)
    inputs = (Column(name="t", kind=Kind.TEXT, datatype="BYTES"),)
    baseline = build({"t": texts}, Signature(inputs=inputs, outputs=()))
    profile = Profile.empty(baseline)
    profile.fold({"t": np.array([True, 1, 1.0, 1, None, "1"], dtype=object)})
    feature = baseline.features[0]
    found = dict(zip(feature.categories, profile.histogram("t").tolist(), strict=False))
    assert found == {"true": 1, "1": 3, "1.0": 1}
    assert profile.missing("t") == 1
