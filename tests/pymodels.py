"""Models of the python lane for tests: folders as MLflow writes them, made without the seconds that MLflow takes."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.files import Limits, safe_files
from lockgate.base.digest import canonical_json
from lockgate.domain.registry.manifest import Column, FileEntry, Kind, Manifest, Output, Signature, to_plain
from lockgate.domain.registry.serving import Serving

COLUMNS = tuple(Column(name=name, kind=Kind.NUMBER, datatype="FP64", low=0.0, high=1.0) for name in ("a", "b"))
TENSOR = (Column(name="x", kind=Kind.NUMBER, datatype="FP64", shape=(2,)),)
#: First values of a row that the moody model takes badly.
POISON, EXIT, HANG, LEAK, SLOW = -1.0, -2.0, -3.0, -4.0, -5.0
#: Megabytes that it keeps for each row of LEAK.
LEAKED = 20

#: Adds a row up. An estimator of somebody's own, as code that is logged beside the pickle; it needs nothing but NumPy.
_MOODY = f"""
import os, time
import numpy as np

kept = []

class Moody:
    def get_params(self, deep=True):
        return {{}}

    def predict(self, rows):
        a = rows[:, 0]
        if (a == {POISON}).any():
            raise ValueError("a may not be minus one")
        if (a == {EXIT}).any():
            os._exit(7)
        if (a == {HANG}).any():
            time.sleep(600)
        if (a == {SLOW}).any():
            time.sleep(0.3)
        for _ in range(int((a == {LEAK}).sum())):
            kept.append(np.ones({LEAKED} << 17))
        return rows.sum(axis=1)
"""
_PICKLE = b"cmoody\nMoody\n)\x81."

#: Anything at all, by what ``predict`` does with the DataFrame ``rows``.
_LOADER = """
import pandas as pd

class Model:
    def predict(self, rows):
        {code}

def _load_pyfunc(path):
    return Model()
"""


def moody(folder: Path, *, result: str = "rows.sum(axis=1)") -> Path:
    """An estimator that takes some values badly; ``result``: what it says of an array of ``rows``."""
    flavors = {
        "python_function": {"loader_module": "mlflow.sklearn", "python_version": "3.11.7", "code": "code"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle", "code": "code"},
    }
    _write(folder, flavors)
    (folder / "code" / "moody.py").write_text(_MOODY.replace("rows.sum(axis=1)", result))
    (folder / "model.pkl").write_bytes(_PICKLE)
    return folder


def custom(folder: Path, code: str) -> Path:
    """A pyfunc of somebody's own; ``code`` returns what it says of ``rows``."""
    _write(folder, {"python_function": {"loader_module": "custom_loader", "code": "code"}})
    (folder / "code" / "custom_loader.py").write_text(_LOADER.format(code=code))
    return folder


def tensors(folder: Path, code: str) -> Path:
    """A pyfunc that takes several tensors; ``code`` returns what it says of ``rows``, a dict of arrays."""
    custom(folder, code)
    inputs = [
        {"type": "tensor", "name": name, "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}
        for name, dtype, shape in (("image", "uint8", [4, 3]), ("dose", "float32", []), ("drug", "str", []))
    ]
    said = json.loads((folder / "MLmodel").read_text())
    said["signature"] = {"inputs": json.dumps(inputs)}
    (folder / "MLmodel").write_text(json.dumps(said))
    return folder


def _write(folder: Path, flavors: dict[str, Any]) -> None:
    (folder / "code").mkdir(parents=True)
    inputs: list[dict[str, Any]] = [{"type": "double", "name": column.name} for column in COLUMNS]
    if "sklearn" in flavors:
        inputs = [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
    said = {"flavors": flavors, "mlflow_version": "", "signature": {"inputs": json.dumps(inputs)}}
    # JSON is YAML, too.
    (folder / "MLmodel").write_text(json.dumps(said))
    (folder / "requirements.txt").write_text("numpy\npandas\n")


def manifest_of(folder: Path, blobs: DirectoryBlobs, serving: Serving | None = None, **more: Any) -> Manifest:
    """A folder as a package of the python lane, a regression unless more is said."""
    files = {
        name: FileEntry(digest=blobs.put_file(path), size=path.stat().st_size)
        for name, path in safe_files(folder, Limits()).items()
    }
    fields: dict[str, Any] = {
        "model": "moody",
        "task": "regression",
        "flavor": "sklearn",
        "serialization": "python",
        "signature": Signature(inputs=TENSOR, outputs=(Output(name="prediction", datatype="FP64"),)),
        "graph": None,
        "requirements": ("numpy", "pandas"),
        "serving": serving or Serving(),
    }
    return Manifest(files=files, **(fields | more))


def keep(manifest: Manifest, blobs: DirectoryBlobs) -> str:
    """Keep a package; gives its digest."""
    return blobs.put(canonical_json(to_plain(manifest)))


def estimator(folder: Path, model: Any, names: tuple[str, ...]) -> Path:
    """A fitted scikit-learn estimator, pickled as MLflow pickles it, with columns of these names."""
    flavors = {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
    }
    folder.mkdir(parents=True)
    inputs = [{"type": "double", "name": name} for name in names]
    said = {"flavors": flavors, "mlflow_version": "", "signature": {"inputs": json.dumps(inputs)}}
    (folder / "MLmodel").write_text(json.dumps(said))
    (folder / "requirements.txt").write_text("numpy\nscikit-learn\n")
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    return folder


def xgboost(folder: Path, model: Any, rows: Any) -> Path:
    """A fitted XGBoost estimator as MLflow itself saves it, with the signature of its ``rows``."""
    with warnings.catch_warnings():
        # MLflow warns of its own modules while it imports them.
        warnings.simplefilter("ignore")
        from mlflow.models import infer_signature
        from mlflow.xgboost import save_model

        signature = infer_signature(rows, model.predict(rows))
        # Named, for finding them out takes MLflow seconds.
        needs = ["numpy", "scikit-learn", "xgboost"]
        save_model(model, str(folder), signature=signature, model_format="json", pip_requirements=needs)
    return folder


def booster(folder: Path, model: Any, names: tuple[str, ...]) -> Path:
    """A LightGBM booster, as text."""
    flavors = {
        "python_function": {"loader_module": "mlflow.lightgbm", "data": "model.lgb"},
        "lightgbm": {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"},
    }
    folder.mkdir(parents=True)
    inputs = [{"type": "double", "name": name} for name in names]
    said = {"flavors": flavors, "mlflow_version": "", "signature": {"inputs": json.dumps(inputs)}}
    (folder / "MLmodel").write_text(json.dumps(said))
    (folder / "requirements.txt").write_text("lightgbm\n")
    model.save_model(str(folder / "model.lgb"))
    return folder
