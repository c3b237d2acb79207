"""The ordinary MLflow client, in a process of its own as its users have it: ``... log NAME STRENGTH`` and so on.

MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN say where and who, as for anybody.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.sklearn import log_model
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.e2e.biopsy import tables


def log(name: str, strength: str) -> dict[str, Any]:
    """Train a classifier, log it and register it."""
    mlflow.set_experiment(name)
    training, _ = tables()
    inputs, truth = training.drop(columns="malignant"), training["malignant"]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=float(strength))).fit(inputs, truth)
    with mlflow.start_run():
        mlflow.log_param("strength", strength)
        mlflow.log_metric("training_accuracy", float(model.score(inputs, truth)))
        info = log_model(
            model,
            name="model",
            signature=infer_signature(inputs, model.predict(inputs)),
            registered_model_name=name,
            pip_requirements=["scikit-learn"],
            skops_trusted_types=["numpy.dtype"],
        )
    return {"version": str(info.registered_model_version)}


class Triage(PythonModel):
    """A model that nothing converts: a text and a number for each row."""

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        radius = model_input["mean_radius"]
        return pd.DataFrame({"advice": ["biopsy" if value > 15 else "wait" for value in radius], "twice": radius * 2})


def log_own(name: str) -> dict[str, Any]:
    """Log a class of somebody's own, and register it."""
    mlflow.set_experiment(name)
    rows = tables()[0].drop(columns="malignant").head(5)
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=Triage(),
            signature=infer_signature(rows, Triage().predict(None, rows)),
            registered_model_name=name,
            pip_requirements=["mlflow", "pandas"],
        )
    return {"version": str(info.registered_model_version)}


def alias(name: str, alias: str, version: str) -> dict[str, Any]:
    """Point an alias at a version."""
    mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
    return {}


def follow(name: str, alias: str) -> dict[str, Any]:
    """Load what an alias points at and predict three rows."""
    version = mlflow.MlflowClient().get_model_version_by_alias(name, alias).version
    model = mlflow.pyfunc.load_model(f"models:/{name}@{alias}")
    rows = tables()[1].drop(columns="malignant").head(3)
    return {"version": str(version), "labels": [int(label) for label in model.predict(rows)]}


def main() -> None:
    verbs = {"log": log, "log_own": log_own, "alias": alias, "follow": follow}
    try:
        said = verbs[sys.argv[1]](*sys.argv[2:])
    except MlflowException as error:
        said = {"refused": str(error)}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
