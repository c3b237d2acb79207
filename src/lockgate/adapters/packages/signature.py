"""A model's signature: what its author declared, completed by what is in its training data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lockgate.adapters.packages.tables import Table, present, typed
from lockgate.base.errors import Invalid, NotServable
from lockgate.domain.registry.manifest import Column, Kind, Output

#: Most values of a text column that are listed.
_MOST_CATEGORIES = 100


def infer_inputs(
    declared: tuple[Column, ...] | None, model: Any, table: Table | None, *, personal: Collection[str]
) -> tuple[Column, ...]:
    """The inputs with ranges, categories and gaps as seen in training.

    Args:
        declared: from MLflow's signature; without one, the names the estimator was fitted on.
        model: the estimator, for those names.
        table: training data, or holdout where there is none.
        personal: names of columns with personal data.

    Raises:
        NotServable: nothing says what the model takes.
        Invalid: the table lacks columns, or they hold something else.
    """
    columns = declared if declared is not None else _by_names(model, table)
    if not columns:
        raise NotServable("the model takes no input at all")
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise NotServable("the model takes two inputs of one name")
    if any(column.shape for column in columns):
        return columns
    if table is None:
        return tuple(replace(column, personal=column.name in personal) for column in columns)
    frame = typed(table, columns)
    return tuple(_seen(column, frame[column.name], personal=column.name in personal) for column in columns)


def outputs(task: str, classes: tuple[str, ...], *, precision: str, text_labels: bool) -> tuple[Output, ...]:
    """What callers get: label and probabilities, or one prediction."""
    if task == "regression":
        return (Output(name="prediction", datatype=precision),)
    return (
        Output(name="label", datatype="BYTES" if text_labels else "INT64"),
        Output(name="probabilities", datatype=precision, shape=(len(classes),)),
    )


def matrix_table(table: Table, columns: tuple[Column, ...], *, leave_out: Collection[str]) -> pd.DataFrame:
    """The numbers of a table as the one matrix that a tensor input is, shape (rows, features).

    Raises:
        Invalid: not as many columns of numbers as the model has features.
    """
    frame = table.frame.drop(columns=[name for name in leave_out if name in table.frame.columns])
    width = columns[0].shape[0]
    numbers = frame.select_dtypes(include=["number", "bool"])
    if numbers.shape[1] != width or numbers.shape[1] != frame.shape[1]:
        raise Invalid(
            f"the model takes {width} numbers a row, and the {table.role} data has {frame.shape[1]} columns beside"
            f" label and subject, {numbers.shape[1]} of them numbers",
            hint="keep only the features in the table, or log the model with a DataFrame so that they have names",
        )
    return numbers.astype("float32" if columns[0].datatype == "FP32" else "float64")


def _by_names(model: Any, table: Table | None) -> tuple[Column, ...]:
    names: Any = getattr(model, "feature_names_in_", None)
    if names is None or table is None:
        raise NotServable(
            "the model was logged without a signature",
            hint="give log_model an input_example, or a signature by mlflow.models.infer_signature",
        )
    missing = [name for name in names if name not in table.frame.columns]
    if missing:
        raise Invalid(f"the {table.role} data has no column {', '.join(map(str, missing[:10]))}")
    return tuple(_by_dtype(str(name), table.frame[name]) for name in names)


def _by_dtype(name: str, series: Any) -> Column:
    if pd.api.types.is_bool_dtype(series.dtype):
        return Column(name=name, kind=Kind.BOOLEAN, datatype="BOOL")
    if pd.api.types.is_integer_dtype(series.dtype):
        return Column(name=name, kind=Kind.INTEGER, datatype="INT64")
    if pd.api.types.is_float_dtype(series.dtype):
        return Column(name=name, kind=Kind.NUMBER, datatype="FP32" if series.dtype == "float32" else "FP64")
    return Column(name=name, kind=Kind.TEXT, datatype="BYTES")


def _seen(column: Column, series: Any, *, personal: bool) -> Column:
    held = present(series)
    gaps = not bool(held.all())
    column = replace(column, personal=personal, optional=column.optional or gaps)
    values = series[held]
    if column.kind is Kind.TEXT:
        listed = sorted({str(value) for value in values})
        return replace(column, categories=tuple(listed) if 0 < len(listed) <= _MOST_CATEGORIES else None)
    if column.kind is Kind.BOOLEAN:
        return column
    if column.kind is Kind.INTEGER and column.optional:
        # A whole number that may be missing travels as a float: nothing else holds a gap.
        column = replace(column, kind=Kind.NUMBER, datatype="FP64")
    numbers = values.to_numpy(dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return column
    return replace(column, low=float(numbers.min()), high=float(numbers.max()))
