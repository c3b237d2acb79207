"""What skl2onnx needs to be told before it converts the models that this platform takes.

LightGBM's estimators inside pipelines, gaps filled in double precision, and histogram boosting, whose converter hands
numpy's numbers to a protobuf that takes Python's only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from onnx import TensorProto
from onnx.numpy_helper import from_array
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

_CLASSIFIER_OPTIONS: dict[str, Any] = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


#: Attributes of tree ensembles that single precision would round; `…_as_tensor` is their form in double precision.
_ROUNDED = frozenset({"nodes_values", "nodes_hitrates", "class_weights", "target_weights", "base_values"})


#: Trees of scikit-learn that round their input to single precision themselves.
_SINGLE = (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)


@cache
def register() -> None:
    """Tell skl2onnx, once in a process."""
    classifier, regressor = calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
    _register(LGBMClassifier, "LightGbmLGBMClassifier", classifier, _exact(convert_lightgbm), _CLASSIFIER_OPTIONS)
    _register(LGBMRegressor, "LightGbmLGBMRegressor", regressor, _exact(convert_lightgbm), {"split": None})
    for model in (HistGradientBoostingClassifier, HistGradientBoostingRegressor):
        _wrap(model, lambda convert: _exact(partial(convert, op_version=3)))
    for model in _SINGLE:
        _wrap(model, _rounded_first)
    _wrap(SimpleImputer, _fill_gaps)


def _wrap(model: type, wrapper: Callable[[Any], Any]) -> None:
    name = sklearn_operator_name_map[model]
    known: Any = get_converter(name)
    _register(model, name, get_shape_calculator(name), wrapper(known._fct), known._options)


def _register(model: type, name: str, shapes: Any, convert: Any, options: dict[str, Any] | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a converter is replaced, which is the point
        update_registered_converter(model, name, shapes, convert, options=options)


class _Exact:
    """A container of ONNX nodes that takes numpy's numbers, and keeps trees as precise as their input."""

    def __init__(self, inner: Any, *, double: bool) -> None:
        self._inner = inner
        self._double = double

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add_node(self, op_type: str, *args: Any, **attributes: Any) -> Any:
        trees = op_type.startswith("TreeEnsemble")
        plain = {key: _plain(value) for key, value in attributes.items()}
        if trees:
            plain["op_version"] = 3 if self._double else 1
        if trees and self._double:
            for key in _ROUNDED & plain.keys():
                values = np.asarray(plain.pop(key), dtype=np.float64)
                plain[f"{key}_as_tensor"] = from_array(values, name=key)
        return self._inner.add_node(op_type, *args, **plain)


def _exact(convert: Any) -> Any:
    def converted(scope: Any, operator: Any, container: Any) -> None:
        double = isinstance(operator.inputs[0].type, DoubleTensorType)
        convert(scope, operator, _Exact(container, double=double))

    return converted


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [_plain_item(item) for item in cast("list[Any]", value)]
    return value


def _plain_item(item: Any) -> Any:
    if isinstance(item, bool | np.bool_):
        return int(item)
    return item.item() if isinstance(item, np.generic) else item


class _Rounded:
    """An operator whose input was rounded to single precision."""

    def __init__(self, inner: Any, variable: Any) -> None:
        self._inner = inner
        self.inputs = [variable]
        self.input_full_names = [variable.full_name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _rounded_first(convert: Any) -> Any:
    def converted(scope: Any, operator: Any, container: Any) -> None:
        given = operator.inputs[0]
        if not isinstance(given.type, DoubleTensorType):
            convert(scope, operator, container)
            return
        rounded = scope.declare_local_variable("rounded", FloatTensorType(given.type.shape))
        container.add_node(
            "Cast",
            given.full_name,
            rounded.full_name,
            op_version=13,
            to=TensorProto.FLOAT,
            name=scope.get_unique_operator_name("Cast"),
        )
        convert(scope, _Rounded(operator, rounded), container)

    return converted


def _fill_gaps(convert: Any) -> Any:
    """Where-IsNaN in place of the Imputer operator, which ONNX Runtime has for single precision only."""

    def converted(scope: Any, operator: Any, container: Any) -> None:
        imputer = operator.raw_operator
        kind = operator.inputs[0].type
        numbers = isinstance(kind, FloatTensorType | DoubleTensorType)
        marks_nan = isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)
        statistics = np.asarray(imputer.statistics_)
        plain = numbers and marks_nan and not imputer.add_indicator and statistics.dtype.kind == "f"
        if not plain or len(operator.inputs) != 1 or np.isnan(statistics).any():
            convert(scope, operator, container)
            return
        double = isinstance(kind, DoubleTensorType)
        filler, gaps = scope.get_unique_variable_name("filler"), scope.get_unique_variable_name("gaps")
        element = TensorProto.DOUBLE if double else TensorProto.FLOAT
        container.add_initializer(filler, element, [1, len(statistics)], statistics.tolist())
        given = operator.inputs[0].full_name
        container.add_node("IsNaN", given, gaps, op_version=13, name=scope.get_unique_operator_name("IsNaN"))
        container.add_node(
            "Where",
            [gaps, filler, given],
            operator.outputs[0].full_name,
            op_version=16,
            name=scope.get_unique_operator_name("Where"),
        )

    return converted
