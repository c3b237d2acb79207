"""The developer's notebook: trains the models and logs them with the ordinary mlflow client.

A program of its own, so that its imports, which take seconds, go on while the platform starts. Its commands:
``prepare`` {folder}, ``train`` {model}, ``sign_in`` {url, token}, ``log`` {model}, ``point`` {alias, version} and
``look`` {alias}.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.sklearn import log_model
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from lockgate.demo import data, models
from lockgate.demo.child import Json, commands, reply
from lockgate.demo.data import Rows

SEED = 1987
#: MLflow's name of the model.
NAME = "thyroid"
_TRAINERS: dict[str, Callable[..., Pipeline]] = {
    "champion": models.train_champion,
    "worse": models.train_worse,
    "careless": models.train_careless,
    "better": models.train_better,
}
#: Named, so that mlflow does not start another process to find out.
_NEEDS = [f"{package}=={version(package)}" for package in ("scikit-learn", "skops", "pandas", "numpy")]


class Notebook:
    """What is open in it."""

    def __init__(self) -> None:
        self._phases = data.split(data.load(), seed=SEED)
        self._trained: dict[str, Pipeline] = {}

    def prepare(self, folder: str) -> Json:
        """Write the tables beside lockgate.yaml, and the clinics' records in the order in which they come."""
        place = Path(folder)
        for role, rows in (("training", self._phases.training), ("holdout", self._phases.holdout)):
            rows.inputs.assign(**{data.LABEL: rows.labels}).to_parquet(place / f"{role}.parquet", index=False)
        for phase, rows in (("usual", self._phases.live_usual), ("shifted", self._phases.live_shifted)):
            _write_records(place / f"{phase}.jsonl", rows)
        return {"records": {"usual": len(self._phases.live_usual), "shifted": len(self._phases.live_shifted)}}

    def train(self, model: str) -> Json:
        """Fit one of the models."""
        self._trained[model] = _TRAINERS[model](self._phases.training, seed=SEED)
        return {}

    def sign_in(self, url: str, token: str) -> Json:
        """From now on log to this tracking server; the two variables are all that mlflow needs."""
        os.environ.update(MLFLOW_TRACKING_URI=url, MLFLOW_TRACKING_TOKEN=token)
        mlflow.set_experiment(NAME)
        return {}

    def log(self, model: str) -> Json:
        """Log a trained model in a run of its own and register it; gives the registered version."""
        pipeline, inputs = self._trained[model], self._phases.training.inputs
        holdout = self._phases.holdout
        scores = pipeline.predict_proba(holdout.inputs)[:, 1]
        with mlflow.start_run(run_name=model) as run:
            mlflow.log_params({"model": type(pipeline["model"]).__name__, "seed": SEED, "rows": len(inputs)})
            mlflow.log_metric("holdout_roc_auc", float(roc_auc_score(holdout.labels, scores)))
            info = log_model(
                pipeline,
                name="model",
                serialization_format="skops",
                skops_trusted_types=list(models.TRUSTED_TYPES),
                signature=infer_signature(inputs, self._phases.training.labels),
                pip_requirements=_NEEDS,
                registered_model_name=NAME,
            )
        return {"version": str(info.registered_model_version), "run": run.info.run_id}

    def point(self, alias: str, version: str) -> Json:
        """Set an alias as any client would; gives what the server said when it refused."""
        try:
            mlflow.MlflowClient().set_registered_model_alias(NAME, alias, version)
        except MlflowException as error:
            return {"refused": error.message}
        return {"refused": ""}

    def look(self, alias: str) -> Json:
        """Which version an alias points at; empty when there is no such alias."""
        found = mlflow.MlflowClient().get_registered_model(NAME).aliases
        return {"version": str(found.get(alias, ""))}


def _write_records(file: Path, rows: Rows) -> None:
    order = np.random.default_rng(SEED).permutation(len(rows))
    # JSON has no NaN: what was not measured is null.
    inputs = rows.inputs.astype(object).where(rows.inputs.notna(), None).to_dict("records")
    with file.open("w", encoding="utf-8") as out:
        for row in order.tolist():
            out.write(json.dumps({"inputs": inputs[row], "label": int(rows.labels[row])}) + "\n")


def main() -> None:
    # mlflow's and scikit-learn's advice to their users is not the story's; what fails is raised all the same.
    warnings.simplefilter("ignore")
    # mlflow prints where runs can be seen; standard output is for answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    notebook = Notebook()
    verbs: dict[str, Callable[..., Json]] = {
        "prepare": notebook.prepare,
        "train": notebook.train,
        "sign_in": notebook.sign_in,
        "log": notebook.log,
        "point": notebook.point,
        "look": notebook.look,
    }
    for command in commands(sys.stdin):
        number, verb = command.pop("number"), command.pop("command")
        told: dict[str, Any] = verbs[verb](**command)
        reply({"number": number, **told}, into=answers)


if __name__ == "__main__":
    main()
