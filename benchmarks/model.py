"""The one model of all measurements, made in a process of its own: ``python -m benchmarks.model VERB …``.

Gradient boosting of scikit-learn, 100 trees, on the 30 measurements of the Wisconsin breast cancer data.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.surroundings import plain_environment

NAME = "biopsy"
#: A second version, told apart by what it answers.
SEEDS = (1, 2)
_TRUSTED = ["numpy.dtype", "sklearn.tree._tree.Tree"]

_CONFIG = """
model: {name}
owner: pathology
risk: medium
data:
  training: training.parquet
  holdout: holdout.parquet
  label: malignant
gates:
  - quality: {{metric: roc_auc, at_least: 0.9}}
"""


def prepare(folder: Path) -> None:
    """Train in another process; leaves tables, ``lockgate.yaml``, ``rows.json`` and a file for each kind of server.

    Raises:
        subprocess.CalledProcessError: training failed; what it said is on stderr.
    """
    _run("prepare", str(folder), env=plain_environment())


def log(url: str, token: str, seed: int) -> str:
    """Train and log with the ordinary MLflow client to a platform; gives the registered version's number."""
    env = {**plain_environment(), "MLFLOW_TRACKING_URI": f"{url}/mlflow", "MLFLOW_TRACKING_TOKEN": token}
    return str(_run("log", str(seed), env=env)["version"])


def package(folder: Path, home: Path) -> dict[str, str]:
    """Package the prepared model into a home's blobs as a job does; gives the package's digest for each lane."""
    return _run("package", str(folder), str(home), env=plain_environment())


def _run(*words: str, env: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.model", *words]
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.stderr.write(told.stderr)
        told.check_returncode()
    return json.loads(told.stdout.splitlines()[-1])


def _tables() -> tuple[Any, Any]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data: Any = load_breast_cancer(as_frame=True)
    frame = data.frame.drop(columns="target")
    frame.columns = [name.replace(" ", "_") for name in frame.columns]
    frame["malignant"] = 1 - data.target
    parts: list[Any] = train_test_split(frame, test_size=0.4, random_state=1, stratify=frame["malignant"])
    return parts[0].reset_index(drop=True), parts[1].reset_index(drop=True)


def _trained(seed: int) -> tuple[Any, Any, Any]:
    """The model, what it was trained on, and what it answers there."""
    from sklearn.ensemble import GradientBoostingClassifier

    training, _ = _tables()
    inputs = training.drop(columns="malignant")
    model = GradientBoostingClassifier(n_estimators=100, random_state=seed, subsample=0.8)
    model.fit(inputs, training["malignant"])
    return model, inputs, model.predict(inputs)


def _prepare(folder: Path) -> dict[str, Any]:
    import joblib
    import mlflow.sklearn as mlflow_sklearn
    from mlflow.models import infer_signature
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    training, holdout = _tables()
    training.to_parquet(folder / "training.parquet")
    holdout.to_parquet(folder / "holdout.parquet")
    (folder / "lockgate.yaml").write_text(_CONFIG.format(name=NAME), encoding="utf-8")
    model, _, _ = _trained(SEEDS[0])
    # Without column names, as the peers are asked with bare arrays; the trees are the same.
    bare: Any = type(model)(**model.get_params()).fit(
        training.drop(columns="malignant").to_numpy(), training["malignant"]
    )
    joblib.dump(bare, folder / "model.joblib")
    taken: Any = [("x", FloatTensorType([None, 30]))]
    graph: Any = to_onnx(bare, initial_types=taken, options={"zipmap": False})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    mlflow_sklearn.save_model(
        bare,
        folder / "mlflow",
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    inputs = training.drop(columns="malignant")
    mlflow_sklearn.save_model(
        model,
        folder / "pyfunc",
        pyfunc_predict_fn="predict_proba",
        serialization_format="skops",
        skops_trusted_types=_TRUSTED,
        signature=infer_signature(inputs, model.predict_proba(inputs)),
        pip_requirements=[f"scikit-learn=={version('scikit-learn')}", f"skops=={version('skops')}"],
    )
    rows = holdout.drop(columns="malignant").head(8)
    answers = model.predict_proba(rows)[:, 1]
    known = {"rows": rows.to_numpy().tolist(), "answers": answers.tolist(), "columns": list(rows.columns)}
    (folder / "rows.json").write_text(json.dumps(known))
    return {}


def _package(folder: Path, home: Path) -> dict[str, str]:
    from lockgate.adapters.blobs.directory import DirectoryBlobs
    from lockgate.adapters.lockgate_yaml.configs import YamlConfigs
    from lockgate.adapters.packages.workbench import PackageWorkbench

    workbench = PackageWorkbench(DirectoryBlobs(home / "blobs"))
    text = (folder / "lockgate.yaml").read_text(encoding="utf-8")
    data = {role: folder / f"{role}.parquet" for role in ("training", "holdout")}
    found: dict[str, str] = {}
    for lane in ("compiled", "python"):
        config = YamlConfigs().read(f"{text}serving: {{lane: {lane}}}\n")
        found[lane] = workbench.package(folder / "pyfunc", data, config, {}).digest
    return found


def _log(seed: int) -> dict[str, Any]:
    import mlflow
    from mlflow.models import infer_signature
    from mlflow.sklearn import log_model

    mlflow.set_experiment(NAME)
    model, inputs, answers = _trained(seed)
    with mlflow.start_run():
        info = log_model(
            model,
            name="model",
            signature=infer_signature(inputs, answers),
            registered_model_name=NAME,
            pip_requirements=["scikit-learn"],
            skops_trusted_types=_TRUSTED,
        )
    return {"version": str(info.registered_model_version)}


def _main(verb: str, *words: str) -> dict[str, Any]:
    if verb == "log":
        return _log(int(words[0]))
    folders = [Path(word) for word in words]
    return _package(folders[0], folders[1]) if verb == "package" else _prepare(folders[0])


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))
