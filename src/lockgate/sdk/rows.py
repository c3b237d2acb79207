"""Rows of a notebook as tensors of the Open Inference Protocol, and answers back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lockgate.base.errors import Invalid

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model said to some rows."""

    endpoint: str
    #: Version number, and the generation of routes that chose it.
    version: str
    generation: int | None
    #: One a row: what `label` takes.
    prediction_ids: list[str]
    #: Name -> one value a row; a list a row where the output has several, such as probabilities.
    outputs: dict[str, list[Any]]

    @property
    def labels(self) -> list[Any]:
        """The predicted class of each row, or the number where the model gives one."""
        return self.outputs["label"] if "label" in self.outputs else self.outputs["prediction"]

    @property
    def probabilities(self) -> list[list[float]]:
        """Each row's score of each class; raises KeyError where the model gives none."""
        return self.outputs["probabilities"]


def tensors(rows: Any, inputs: Sequence[Json]) -> list[Json]:
    """Rows as the tensors that a model asks for.

    Args:
        rows: A data frame, a list of mappings by column, or a matrix [N, k] with columns in the model's order.
        inputs: What the model's metadata says: name, datatype and shape ([-1] or [-1, 1] for a column) of each.

    Raises:
        Invalid: no rows, or a shape or a value that fits no input.
    """
    columns, count = _columns(rows, inputs)
    if count == 0:
        raise Invalid("there are no rows to predict")
    return [_tensor(wanted, columns[name], count) for wanted in inputs if (name := str(wanted["name"])) in columns]


def answer(endpoint: str, body: Json) -> Answer:
    """A gateway's answer, row by row."""
    outputs = {str(output["name"]): _by_row(output) for output in body["outputs"]}
    count = len(next(iter(outputs.values()), []))
    told: Json = body.get("parameters") or {}
    id, generation = str(told.get("prediction_id", "")), told.get("generation")
    return Answer(
        endpoint=endpoint,
        version=str(body.get("model_version", "")),
        generation=None if generation is None else int(generation),
        prediction_ids=[id] if count == 1 else [f"{id}.{row}" for row in range(count)],
        outputs=outputs,
    )


def _columns(rows: Any, inputs: Sequence[Json]) -> tuple[dict[str, list[Any]], int]:
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):  # a data frame, of whichever library
        return {str(name): rows[name].tolist() for name in rows.columns}, len(rows)
    if hasattr(rows, "tolist"):
        return _matrix(rows.tolist(), inputs)
    listed: list[Any] = list(cast(Iterable[Any], rows))
    if all(isinstance(row, Mapping) for row in listed):
        mappings = cast(list[Mapping[str, Any]], listed)
        names = {name for row in mappings for name in row}
        return {name: [row.get(name) for row in mappings] for name in names}, len(mappings)
    return _matrix(listed, inputs)


def _matrix(rows: Any, inputs: Sequence[Json]) -> tuple[dict[str, list[Any]], int]:
    if not isinstance(rows, list) or not all(isinstance(row, list | tuple) for row in cast(list[Any], rows)):
        raise Invalid("rows come as a data frame, a list of mappings, or a matrix of rows and columns")
    matrix = cast(list[Sequence[Any]], rows)
    if len(inputs) == 1 and _width(inputs[0]) != 1:
        return {str(inputs[0]["name"]): list(matrix)}, len(matrix)
    if any(len(row) != len(inputs) for row in matrix):
        raise Invalid(f"each row needs {len(inputs)} values", hint=f"in this order: {_names(inputs)}")
    return {str(wanted["name"]): [row[at] for row in matrix] for at, wanted in enumerate(inputs)}, len(matrix)


def _tensor(wanted: Json, values: list[Any], count: int) -> Json:
    datatype, shape = str(wanted["datatype"]), [int(size) for size in wanted.get("shape") or [-1]]
    cast_one = _CASTS.get(datatype, _number)
    try:
        data = [
            [cast_one(item) for item in value] if isinstance(value, list | tuple) else cast_one(value)
            for value in values
        ]
    except (TypeError, ValueError) as error:
        raise Invalid(f"{wanted['name']} holds something that is no {datatype}: {error}") from error
    return {"name": wanted["name"], "datatype": datatype, "shape": [count, *shape[1:]], "data": data}


def _by_row(output: Json) -> list[Any]:
    shape, data = [int(size) for size in output["shape"]], cast(list[Any], output["data"])
    width = math.prod(shape[1:])
    if len(shape) < 2 or (data and isinstance(data[0], list)):
        return data
    return [data[at : at + width] for at in range(0, len(data), width)]


def _width(wanted: Json) -> int:
    return abs(math.prod(int(size) for size in (wanted.get("shape") or [-1])[1:]))


def _names(inputs: Sequence[Json]) -> str:
    return ", ".join(str(wanted["name"]) for wanted in inputs)


def _missing(value: Any) -> bool:
    """None, NaN, and what data frames put in their place, none of which equals itself."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _number(value: Any) -> float | None:
    return None if _missing(value) else float(value)


def _integer(value: Any) -> int | None:
    if _missing(value):
        return None
    if not float(value).is_integer():
        raise ValueError(f"{value} is not whole")
    return value if isinstance(value, int) else int(float(value))


def _boolean(value: Any) -> bool | None:
    if _missing(value):
        return None
    if isinstance(value, str):
        if value.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{value!r} is neither true nor false")
        return value.lower() in ("true", "1")
    return bool(value)


def _text(value: Any) -> str | None:
    return None if _missing(value) else str(value)


_CASTS: dict[str, Callable[[Any], Any]] = {
    "BOOL": _boolean,
    "BYTES": _text,
    **{f"{sign}INT{bits}": _integer for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
