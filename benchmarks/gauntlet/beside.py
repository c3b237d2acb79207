"""The same candidates before MLflow's validation: thresholds on figures of the holdout, as its documentation shows."""

from __future__ import annotations

import warnings
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import MetricThreshold
from mlflow.models.evaluation import EvaluationResult
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from benchmarks.gauntlet.faults import Made
from benchmarks.gauntlet.tables import LABEL, Table


def figures(table: Table, made: Made, model: Any) -> dict[str, float]:
    """What a team would hand to MLflow: the usual figures on the holdout. Empty where the model cannot answer it."""
    rows = made.holdout.drop(columns=LABEL)
    truth = made.holdout[LABEL]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if table.task == "regression":
                return {"r2": float(r2_score(truth, model.predict(rows)))}
            found = {"accuracy": float(accuracy_score(truth, model.predict(rows)))}
            if table.task == "binary":
                found["roc_auc"] = float(roc_auc_score(truth, model.predict_proba(rows)[:, 1]))
        except (ValueError, KeyError, TypeError):
            return {}
    return found if all(np.isfinite(list(found.values()))) else {}


def passes(candidate: dict[str, float], champion: dict[str, float], margin: float) -> bool:
    """Whether MLflow lets it through: each figure at least the live version's, less a margin."""
    if set(candidate) != set(champion):
        return False
    limits = {
        name: MetricThreshold(threshold=value - margin, greater_is_better=True) for name, value in champion.items()
    }
    try:
        mlflow.validate_evaluation_results(
            validation_thresholds=limits,
            candidate_result=EvaluationResult(metrics=candidate, artifacts={}),
            baseline_result=None,
        )
    except MlflowException:
        return False
    return True
