"""Shapley values of any model by asking it: features go over from other rows to the one that is explained, one by one.

Each order of the features gives each one its part of the way from what the model says of other rows to what it says of
this one, so the parts add up exactly; the mean over some orders, each also backwards, estimates the Shapley values
(Castro et al., 2009; Mitchell et al., "Sampling permutations for Shapley value estimation", JMLR 23, 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: One array a model input, first axis rows.
Rows = tuple[NDArray[Any], ...]
#: Rows to one number each, shape (rows,).
Ask = Callable[[Rows], NDArray[np.float64]]
#: How the columns of a call are named that asks for an explanation: what is explained, and what it is compared with,
#: each with the number of the model's input behind it.
ROWS, OTHERS = "row", "other"
#: Most orders of the features, each of them also backwards.
MOST_ORDERS = 16


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one row's answer is made of."""

    base: float
    #: In the order of the features, shape (features,).
    values: NDArray[np.float64]
    #: ``base`` and ``values`` together.
    prediction: float


def width(rows: Rows) -> int:
    """How many features rows have: each element of each input is one."""
    return sum(array[0].size for array in rows)


def explain(row: Rows, others: Rows, ask: Ask, *, most_rows: int, seed: int = 0) -> Parts:
    """Explain one row.

    Args:
        row: the one, as arrays of one row.
        others: what it is compared with; same inputs, some rows.
        ask: the model; raises what it likes.
        most_rows: that the model may be asked about, as far as one order of the features allows.
        seed: of the orders; same seed, same values.
    """
    count = width(row)
    base = float(ask(others).mean())
    prediction = float(ask(row)[0])
    values = np.zeros(count)
    if count == 1:
        values[0] = prediction - base
        return Parts(base=base, values=values, prediction=prediction)
    chance = np.random.default_rng(seed)
    pair = 2 * (count - 1) * len(others[0])
    orders = int(np.clip(most_rows // pair, 1, MOST_ORDERS))
    for _ in range(orders):
        order = chance.permutation(count)
        for turned in (order, order[::-1]):
            steps = _walk(turned, row, others, ask, base, prediction)
            values[turned] += np.diff(steps)
    values /= 2 * orders
    # What the mean has lost by rounding goes where most is.
    values[int(np.abs(values).argmax())] += prediction - base - values.sum()
    return Parts(base=base, values=values, prediction=prediction)


def _walk(
    order: NDArray[np.int64], row: Rows, others: Rows, ask: Ask, base: float, prediction: float
) -> NDArray[np.float64]:
    """What the model says while the features of ``order`` go over one by one, shape (features + 1,)."""
    count, rows = len(order), len(others[0])
    # At which step each feature goes over.
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    blocks: list[NDArray[Any]] = []
    at = 0
    for given, other in zip(row, others, strict=True):
        size = given[0].size
        gone = place[None, at : at + size] < np.arange(1, count)[:, None]
        at += size
        mixed = np.where(gone[:, None, :], given.reshape(1, 1, size), other.reshape(1, rows, size))
        blocks.append(mixed.reshape((count - 1) * rows, *given.shape[1:]))
    means = ask(tuple(blocks)).reshape(count - 1, rows).mean(axis=1)
    return np.concatenate(([base], means, [prediction]))
