from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lockgate.adapters.python_runner.explainer.permutation import Rows, explain

CHANCE = np.random.default_rng(0)
OTHERS: Rows = (CHANCE.random((30, 4)),)
ROW: Rows = (np.array([[0.9, 0.1, 0.5, 0.7]]),)


def product(rows: Rows) -> NDArray[np.float64]:
    """A model in which features act together."""
    x = rows[0]
    return x[:, 0] * x[:, 1] + 2 * x[:, 2] - x[:, 3] * x[:, 0]


def exact(row: Rows, others: Rows, ask: Any) -> NDArray[np.float64]:
    """By the definition: over all sets of features."""
    count = row[0].shape[1]

    def worth(chosen: tuple[int, ...]) -> float:
        mixed = others[0].copy()
        mixed[:, list(chosen)] = row[0][0, list(chosen)]
        return float(ask((mixed,)).mean())

    values = np.zeros(count)
    for feature in range(count):
        rest = [other for other in range(count) if other != feature]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for chosen in combinations(rest, size):
                values[feature] += weight * (worth((*chosen, feature)) - worth(chosen))
    return values


@given(seed=st.integers(0, 2**31), weights=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_the_parts_always_add_up_to_the_prediction(seed: int, weights: list[float]):
    parts = explain(ROW, OTHERS, lambda rows: np.tanh(rows[0] @ np.array(weights)), most_rows=500, seed=seed)
    assert parts.base + parts.values.sum() == pytest.approx(parts.prediction, abs=1e-12)
    assert parts.prediction == pytest.approx(np.tanh(ROW[0][0] @ np.array(weights)))


def test_a_sum_of_features_is_explained_exactly_by_one_order():
    parts = explain(ROW, OTHERS, lambda rows: rows[0] @ np.array([1.0, -2.0, 0.0, 3.0]), most_rows=0)
    assert parts.values == pytest.approx((ROW[0][0] - OTHERS[0].mean(axis=0)) * [1.0, -2.0, 0.0, 3.0])
    assert parts.values[2] == pytest.approx(0)


def test_features_that_act_together_share_what_they_do():
    parts = explain(ROW, OTHERS, product, most_rows=50_000)
    assert parts.values == pytest.approx(exact(ROW, OTHERS, product), abs=0.01)


def test_the_same_seed_gives_the_same_values_and_more_rows_are_never_asked_than_allowed():
    asked: list[int] = []

    def counted(rows: Rows) -> NDArray[np.float64]:
        asked.append(len(rows[0]))
        return product(rows)

    first = explain(ROW, OTHERS, counted, most_rows=1000)
    assert sum(asked) <= 1000 + len(OTHERS[0]) + 1
    assert (explain(ROW, OTHERS, product, most_rows=1000).values == first.values).all()


def test_texts_and_tensors_are_features_too():
    others: Rows = (
        np.array([["F"], ["M"], ["M"], ["M"]], dtype=object),
        np.arange(16, dtype=np.float64).reshape(4, 2, 2),
    )
    row: Rows = (np.array([["F"]], dtype=object), np.full((1, 2, 2), 10.0))

    def ask(rows: Rows) -> NDArray[np.float64]:
        return 8.0 * (rows[0][:, 0] == "F") + rows[1][:, 1, 1]

    parts = explain(row, others, ask, most_rows=1000)
    assert parts.values == pytest.approx([6.0, 0, 0, 0, 1.0])


def test_one_feature_alone_is_the_whole_answer():
    parts = explain((np.array([[2.0]]),), (np.zeros((3, 1)),), lambda rows: rows[0][:, 0], most_rows=10)
    assert parts.values.tolist() == [2.0]
