"""Shapley values of trees, which can be worked out instead of estimated (Lundberg et al., 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.python_runner.program.columns import Column
from lockgate.adapters.python_runner.program.models import opened


class NoTrees(Exception):
    """This model cannot be explained by its trees"""


class Trees:
    """One model of trees, as it was trained."""

    def __init__(self, folder: str, inputs: list[dict[str, Any]]) -> None:
        """Raises NoTrees, or whatever reading the model raises."""
        columns = [Column(**column) for column in inputs]
        model = opened(folder, columns)
        if not model.takes_array:
            raise NoTrees("its columns go through other steps first")
        self._model: Any = vars(model)["_model"]
        self._classifies = model.task == "classification"
        # Looked at before the first call, which would wait for it.
        self._explainer(np.zeros((1, sum(int(np.prod(column.shape)) for column in columns))))

    def explain(
        self, rows: NDArray[np.float64], others: NDArray[np.float64], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Base values, shape (rows,), and the parts of each feature, shape (rows, features).

        Raises:
            NoTrees: its scores are not of a kind that can be explained so; or whatever the library raises.
        """
        found: Any = self._explainer(others)(rows, check_additivity=False)
        values, base = np.asarray(found.values, dtype=np.float64), np.asarray(found.base_values, dtype=np.float64)
        count = len(rows)
        if values.ndim == 3:
            each = np.arange(count)
            base = np.broadcast_to(base, (count, values.shape[2]))
            return base[each, places], values[each, :, places]
        base = np.broadcast_to(base.reshape(-1), (count,))
        if not self._classifies:
            return base, values
        # One score for two classes: the second's.
        second = places == 1
        return np.where(second, base, 1 - base), np.where(second[:, None], values, -values)

    def _explainer(self, others: NDArray[np.float64]) -> Any:
        import shap

        output = "probability" if self._classifies else "raw"
        return shap.TreeExplainer(self._model, data=others, feature_perturbation="interventional", model_output=output)
