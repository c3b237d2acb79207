"""The model as it was logged, opened without running anything it brings along unless that is allowed."""

from __future__ import annotations

import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from lightgbm import Booster
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.base import is_classifier
from skops.io.exceptions import UntrustedTypesFoundException

from lockgate.adapters.packages.answers import Answer, class_indexes, class_name
from lockgate.adapters.packages.files import Limits, safe_archive
from lockgate.adapters.packages.mlmodel import MLModel
from lockgate.base.errors import CorruptArtifact, Invalid, LockgateError, NotServable, UnsafeArtifact
from lockgate.base.paths import check_inside

#: Classes that scikit-learn and LightGBM bring themselves. Functions are not among them: a function could do anything.
_TRUSTED = re.compile(r"(sklearn|lightgbm)(\.\w+)*\.[A-Z]\w*|numpy\.dtype|collections\.OrderedDict")


@dataclass(frozen=True, kw_only=True)
class Original:
    """A fitted estimator, or a LightGBM booster."""

    #: sklearn or lightgbm.
    flavor: str
    #: skops, lightgbm-text or pickle.
    serialization: str
    model: Any
    #: classification or regression.
    task: str
    classes: tuple[str, ...]
    #: Whether it takes one matrix of numbers and not a frame with names.
    matrix: bool = False

    def answer(self, frame: DataFrame) -> Answer:
        """Predict some rows.

        Raises:
            Invalid: the model refuses them.
        """
        rows: Any = frame.to_numpy(dtype=np.float64) if self.matrix else frame
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return self._answer(rows)
        except Exception as error:  # an estimator may raise anything; what it says is all there is to tell
            raise Invalid(f"the model refuses these rows: {type(error).__name__}: {str(error)[:300]}") from error

    def _answer(self, rows: Any) -> Answer:
        if isinstance(self.model, Booster):
            return _booster_answer(self.model, rows, self.task)
        if self.task == "regression":
            return Answer(scores=np.asarray(self.model.predict(rows), dtype=np.float64).reshape(len(rows)))
        scores = np.asarray(self.model.predict_proba(rows), dtype=np.float64)
        return Answer(scores=scores, picked=class_indexes(self.model.predict(rows), self.classes))


def open_original(folder: Path, described: MLModel, *, allow_pickle: bool, limits: Limits) -> Original:
    """Load the estimator of a scikit-learn or LightGBM folder.

    Raises:
        NotServable: neither flavor, needs code that is not here, or answers in a form that nothing can serve.
        UnsafeArtifact: types outside the allowlist, or pickle where it is not allowed.
        CorruptArtifact: the file is missing or damaged.
    """
    flavor = next((name for name in ("sklearn", "lightgbm") if name in described.flavors), None)
    if flavor is None:
        raise NotServable(
            f"a model of flavor {', '.join(sorted(described.flavors))} cannot be packaged yet",
            hint="log it with mlflow.sklearn, mlflow.lightgbm or mlflow.onnx",
        )
    entry = described.flavors[flavor]
    path = _model_file(folder, entry.get("pickled_model") or entry.get("data"))
    if path.suffix == ".skops" or (path.suffix != ".lgb" and _is_zip(path)):
        serialization, model = "skops", _load_skops(path, limits)
    elif path.suffix in (".lgb", ".txt"):
        serialization, model = "lightgbm-text", _load_booster(path)
    else:
        serialization, model = "pickle", _load_pickle(path, allow_pickle=allow_pickle)
    matrix = bool(described.inputs) and bool(described.inputs[0].shape)
    task, classes = _nature(model)
    return Original(flavor=flavor, serialization=serialization, model=model, task=task, classes=classes, matrix=matrix)


def _model_file(folder: Path, name: object) -> Path:
    if not isinstance(name, str) or not name:
        raise CorruptArtifact("MLmodel does not say which file holds the model")
    check_inside(name)
    path = folder / name
    if not path.is_file():
        raise CorruptArtifact(f"MLmodel names {name!r}, and there is no such file", hint="log the model again")
    return path


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _load_skops(path: Path, limits: Limits) -> Any:
    safe_archive(path, limits)
    try:
        # What has to be trusted beyond skops' own list; the file's own claims about trust are not looked at.
        strangers = skops.io.get_untrusted_types(file=path)
        refused = sorted(name for name in strangers if not _TRUSTED.fullmatch(name))
        if refused:
            raise UnsafeArtifact(
                f"the model holds types that are not trusted: {', '.join(refused[:10])}",
                hint="use the estimators of scikit-learn and LightGBM, without functions of your own inside",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another version of scikit-learn: parity will show whether it matters
            return skops.io.load(path, trusted=strangers)
    except LockgateError:
        raise
    except UntrustedTypesFoundException as error:
        raise UnsafeArtifact(f"the model holds types that are not trusted: {error}") from error
    except Exception as error:  # a file that was tampered with fails in skops in any way
        raise CorruptArtifact(
            f"{path.name!r} cannot be read: {type(error).__name__}: {str(error)[:200]}", hint="log the model again"
        ) from error


def _load_booster(path: Path) -> Booster:
    try:
        return Booster(model_file=str(path))
    except LightGBMError as error:
        raise CorruptArtifact(f"{path.name!r} is no LightGBM model: {str(error)[:200]}") from error


def _load_pickle(path: Path, *, allow_pickle: bool) -> Any:
    if not allow_pickle:
        raise UnsafeArtifact(
            "the model is a pickle, and this platform does not open them",
            hint="log it with serialization_format='skops', as ONNX, or as a native booster",
        )
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Runs whatever the file says: allowed by the platform, and only in a job's child with its limits.
            return pickle.load(file)  # noqa: S301
    except ModuleNotFoundError as error:
        raise NotServable(f"the pickled model needs the module {error.name!r}, which is not here") from error
    except Exception as error:  # unpickling may raise anything
        raise CorruptArtifact(
            f"{path.name!r} cannot be unpickled: {type(error).__name__}: {str(error)[:200]}"
        ) from error


def _nature(model: Any) -> tuple[str, tuple[str, ...]]:
    if isinstance(model, Booster):
        return _booster_nature(model)
    if not hasattr(model, "predict"):
        raise NotServable(f"a {type(model).__name__} does not predict")
    if not is_classifier(model):
        return "regression", ()
    if not hasattr(model, "predict_proba"):
        raise NotServable(
            f"a {type(model).__name__} classifies without probabilities",
            hint="wrap it in sklearn.calibration.CalibratedClassifierCV",
        )
    classes: Any = getattr(model, "classes_", None)
    if classes is None or isinstance(classes, list):
        raise NotServable(
            "the classifier has no single list of classes; models with several outputs are not served yet"
        )
    return "classification", tuple(class_name(value) for value in classes)


def _booster_nature(model: Booster) -> tuple[str, tuple[str, ...]]:
    objective = str(model.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
    if objective in ("binary", "cross_entropy"):
        return "classification", ("0", "1")
    if objective in ("multiclass", "multiclassova"):
        return "classification", tuple(str(index) for index in range(model.num_model_per_iteration()))
    if objective in ("lambdarank", "rank_xendcg"):
        raise NotServable("a ranking booster is not served yet")
    return "regression", ()


def _booster_answer(model: Booster, rows: Any, task: str) -> Answer:
    raw: NDArray[np.float64] = np.asarray(model.predict(rows), dtype=np.float64)
    if task == "regression":
        return Answer(scores=raw)
    scores = raw if raw.ndim == 2 else np.column_stack([1 - raw, raw])
    return Answer(scores=scores, picked=scores.argmax(axis=1).astype(np.int64))
