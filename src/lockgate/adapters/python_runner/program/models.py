"""A model, whatever made it, behind one door: columns in, named arrays out.

Its answer is ``scores`` ([rows, classes], or [rows, 1] for one number a row), with ``picked`` ([rows], places among its
classes) where it classifies; or any outputs of its own, each under `OTHER` and its name.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from .columns import Column, arrays, is_tensor, matrix, table, takes_several
from .results import PICKED, SCORES, labels_of, named

#: Estimators whose own `predict` is the largest of `predict_proba`, so that asking once is enough.
_BY_PROBABILITY = {
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "ExtraTreesClassifier",
    "LGBMClassifier",
    "RandomForestClassifier",
}
#: The same but for rounding: their labels come from what the probabilities are made of.
_NEARLY_BY_PROBABILITY = {
    "GaussianNB",
    "GradientBoostingClassifier",
    "HistGradientBoostingClassifier",
    "LinearDiscriminantAnalysis",
    "LogisticRegression",
    "MLPClassifier",
    "XGBClassifier",
}
#: How near to each other the two largest probabilities may be before such a model is asked itself.
_TIE = 1e-6
#: Modules whose estimators compute the same from an array as from a table with the names they were fitted on.
_ARRAYS = (
    "sklearn.decomposition.",
    "sklearn.discriminant_analysis",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.impute._base",
    "sklearn.linear_model.",
    "sklearn.naive_bayes",
    "sklearn.neighbors.",
    "sklearn.neural_network.",
    "sklearn.preprocessing._data",
    "sklearn.svm.",
    "sklearn.tree.",
)


class Model(ABC):
    """Knows how to answer rows."""

    #: "classification", "regression", or empty where its answers have to tell.
    task = ""
    classes: tuple[str, ...] = ()
    #: Names it was fitted on; empty when it knows none.
    names: tuple[str, ...] = ()
    #: Whether it takes all columns as one array of numbers.
    takes_array = False

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns

    @abstractmethod
    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        """What it says of some rows; raises whatever it raises."""

    def described(self) -> dict[str, Any]:
        """What it is, as JSON values."""
        return {
            "task": self.task,
            "classes": self.classes,
            "names": self.names,
            "takes_array": self.takes_array,
        }


class Estimator(Model):
    """Anything with scikit-learn's methods."""

    def __init__(self, columns: list[Column], model: Any) -> None:
        super().__init__(columns)
        _on_one_thread(model)
        self._model = model
        self.names = tuple(map(str, getattr(model, "feature_names_in_", ())))
        numbers = all(column.datatype != "BYTES" for column in columns)
        self.takes_array = is_tensor(columns) or (numbers and _without_names(model))
        classes: Any = getattr(model, "classes_", None)
        #: What a class is called that comes without probabilities.
        self._label = "label" if _classifies(model) else ""
        if self._label and classes is not None and not isinstance(classes, list) and hasattr(model, "predict_proba"):
            self.task, self.classes = "classification", labels_of(classes)
            self._order = np.argsort(classes, kind="stable")
            self._labels = np.asarray(classes)[self._order]
        last = model.steps[-1][1] if type(model).__name__ == "Pipeline" else model
        self._by_probability = type(last).__name__ in _BY_PROBABILITY
        self._nearly = type(last).__name__ in _NEARLY_BY_PROBABILITY

    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        rows = matrix(given, self.columns) if self.takes_array else table(given, self.columns)
        if self.task != "classification":
            return named(self._model.predict(rows), len(rows), label=self._label)
        scores = np.asarray(self._model.predict_proba(rows), dtype=np.float64)
        if self._by_probability or (self._nearly and _plain(scores)):
            return {SCORES: scores, PICKED: scores.argmax(axis=1).astype(np.int32)}
        places = self._order[np.searchsorted(self._labels, self._model.predict(rows))]
        return {SCORES: scores, PICKED: places.astype(np.int32)}


class Booster(Model):
    """A LightGBM booster without the estimator that trained it."""

    takes_array = True

    def __init__(self, columns: list[Column], model: Any) -> None:
        super().__init__(columns)
        self._model = model
        self.names = tuple(model.feature_name())
        objective = str(model.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
        if objective in ("binary", "cross_entropy"):
            self.task, self.classes = "classification", ("0", "1")
        elif objective in ("multiclass", "multiclassova"):
            self.task, self.classes = "classification", tuple(map(str, range(model.num_model_per_iteration())))
        else:
            self.task = "regression"

    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        raw = np.asarray(self._model.predict(matrix(given, self.columns), num_threads=1), dtype=np.float64)
        if self.task == "regression":
            return {SCORES: raw.reshape(len(raw), -1)}
        scores = raw if raw.ndim == 2 else np.column_stack([1 - raw, raw])
        return {SCORES: scores, PICKED: scores.argmax(axis=1).astype(np.int32)}


class Pyfunc(Model):
    """Anything that MLflow can load: it gets what its signature says, and gives what it likes."""

    def __init__(self, columns: list[Column], model: Any) -> None:
        super().__init__(columns)
        self._model = model

    def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        count = len(next(iter(given.values())))
        if takes_several(self.columns):
            rows: Any = arrays(given, self.columns)
        else:
            rows = matrix(given, self.columns) if is_tensor(self.columns) else table(given, self.columns)
        return named(self._model.predict(rows), count)


def opened(folder: str, columns: list[Column]) -> Model:
    """The model of an MLflow folder; raises whatever its libraries raise."""
    import yaml

    warnings.simplefilter("ignore")  # versions are fixed by the environment; nobody reads hints here
    with Path(folder, "MLmodel").open(encoding="utf-8") as file:
        flavors = yaml.safe_load(file)["flavors"]
    native = next((name for name in ("sklearn", "lightgbm", "xgboost") if name in flavors), "")
    # A folder may hold several forms of one model; who gives a loader of his own wants that one.
    if native and flavors.get("python_function", {}).get("loader_module", f"mlflow.{native}") == f"mlflow.{native}":
        _add_code(folder, flavors[native])
        model = _native(native, folder, flavors[native])
        if native == "lightgbm" and type(model).__name__ == "Booster":
            return Booster(columns, model)
        if hasattr(model, "predict") and hasattr(model, "get_params"):
            return Estimator(columns, model)
    return Pyfunc(columns, _loaded(folder, flavors["python_function"]))


def _loaded(folder: str, entry: dict[str, Any]) -> Any:
    loader = str(entry["loader_module"])
    if loader.startswith("mlflow.") or entry.get("config"):
        import mlflow.pyfunc

        return _bare(mlflow.pyfunc.load_model(folder), str(entry.get("predict_fn") or "predict"))
    # A loader of somebody's own is called as MLflow calls it, without all that MLflow would import and wrap around it.
    _add_code(folder, entry)
    data = Path(folder, entry["data"]) if entry.get("data") else Path(folder)
    return importlib.import_module(loader)._load_pyfunc(str(data))


def _bare(model: Any, verb: str) -> Any:
    """What MLflow wraps its checks around: the gateway has checked the rows by the same signature already.

    The wrapper stays where it does more than that: fills in parameters, or makes what a type hint asks for.
    """
    about = model.metadata
    hints = ("_is_signature_from_type_hint", "_is_type_hint_from_example")
    if not all(hasattr(about, name) for name in hints) or any(getattr(about, name)() for name in hints):
        return model
    if about.get_params_schema() is not None:
        return model
    return SimpleNamespace(predict=getattr(model._model_impl, verb))


def _native(flavor: str, folder: str, entry: dict[str, Any]) -> Any:
    # As MLflow loads them, without the seconds that importing it takes: a runner that died is replaced the sooner.
    if flavor == "xgboost":
        module, _, name = str(entry.get("model_class", "xgboost.core.Booster")).rpartition(".")
        model = getattr(importlib.import_module(module), name)()
        model.load_model(str(Path(folder, entry["data"])))
        return model
    path = Path(folder, entry.get("pickled_model") or entry["data"])
    if flavor == "lightgbm" and path.suffix in (".lgb", ".txt"):
        import lightgbm

        return lightgbm.Booster(model_file=str(path))
    if path.suffix == ".skops":
        import skops.io

        # Packaging looked at every type in the file, and refuses what it does not know.
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - a process of its own, which holds this model and nothing else


def _add_code(folder: str, entry: dict[str, Any]) -> None:
    """Modules that were logged with the model."""
    if entry.get("code"):
        sys.path.insert(0, str(Path(folder, entry["code"])))


def _plain(scores: Any) -> bool:
    """Whether no row's two largest probabilities are so near to each other that rounding could turn them round."""
    if scores.shape[1] == 2:
        return bool((np.abs(scores[:, 0] - scores[:, 1]) > _TIE).all())
    top = np.partition(scores, -2, axis=1)[:, -2:]
    return bool((top[:, 1] - top[:, 0] > _TIE).all())


def _classifies(model: Any) -> bool:
    if not hasattr(model, "__sklearn_tags__"):  # an older release, or none of scikit-learn's classes above it
        return getattr(model, "_estimator_type", "") == "classifier"
    from sklearn.base import is_classifier

    return is_classifier(model)


def _on_one_thread(model: Any) -> None:
    """Threads that share a core with the gateway cost more than they bring, and add up in any order."""
    jobs = {name: 1 for name in model.get_params() if name.split("__")[-1] == "n_jobs"}
    if jobs:
        model.set_params(**jobs)


def _without_names(model: Any) -> bool:
    """Whether it may be given an array; then it forgets its names, which it would otherwise ask for."""
    parts = [step for _, step in model.steps] if type(model).__name__ == "Pipeline" else [model]
    for part in parts:
        if not f"{type(part).__module__}.".startswith(_ARRAYS) or getattr(part, "_preprocessor", None) is not None:
            return False
        # A step that gives tables would name its columns to the next.
        if getattr(part, "_sklearn_output_config", None):
            return False
    for part in parts:
        vars(part).pop("feature_names_in_", None)
    return True
