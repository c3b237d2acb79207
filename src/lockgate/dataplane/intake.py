"""What a model takes: a caller's values checked against the signature and laid out as the graph wants them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.base.errors import NotServable
from lockgate.dataplane.refusal import Refused, bad_input, quoted
from lockgate.dataplane.tensors import WHOLE, WHOLE_LIMITS
from lockgate.domain.registry.manifest import Column, Graph, Kind, Signature

#: One array a graph input: a matrix [rows, width], or one [rows, *shape] a column ([rows, 1] for a scalar).
Inputs = tuple[NDArray[Any], ...]
Values = NDArray[Any] | Sequence[Any]

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_MOST_NAMED = 10
#: Types that a number may be too large for that a caller can send.
_NARROW = WHOLE - {"INT64", "UINT64"}


class Intake:
    """The signature of one package, ready to check requests."""

    def __init__(self, signature: Signature, *, matrix: bool, names: tuple[str, ...], dtypes: tuple[Any, ...]) -> None:
        """``names`` and ``dtypes``: of the arrays that the model is given, one for a matrix, else one a column."""
        self.columns = signature.inputs
        self.by_name = {column.name: column for column in signature.inputs}
        self.widths = tuple(math.prod(column.shape) for column in signature.inputs)
        self.width = sum(self.widths)
        self.matrix = matrix
        #: Whether one tensor of numbers can stand for all columns.
        self.all_numbers = all(column.kind is not Kind.TEXT for column in signature.inputs)
        self._only_numbers = all(column.kind is Kind.NUMBER for column in signature.inputs)
        #: Whether each value of the one matrix is a number as it stands: neither truths nor texts.
        self.plain = matrix and all(column.kind in (Kind.NUMBER, Kind.INTEGER) for column in signature.inputs)
        self.names = names
        self.dtypes = dtypes
        #: Whether a row may stay a plain list of numbers until `from_rows` makes one array of many.
        self.rowwise = matrix and self._only_numbers and dtypes[0] in (np.float32, np.float64)

    @classmethod
    def of_graph(cls, signature: Signature, graph: Graph, types: Mapping[str, str]) -> Intake:
        """As an ONNX graph wants them; ``types``: element type of each of its inputs, as ONNX Runtime names it.

        Raises:
            NotServable: the graph's inputs are not those of the signature.
        """
        matrix = graph.layout == "matrix"
        names = [graph.matrix_input] if matrix else [column.name for column in signature.inputs]
        missing = [name for name in names if types.get(name) not in _TYPES]
        if missing:
            raise NotServable(f"the graph has no input it can be fed by under the name {missing[0]!r}")
        return cls(signature, matrix=matrix, names=tuple(names), dtypes=tuple(_TYPES[types[name]] for name in names))

    @classmethod
    def of_signature(cls, signature: Signature) -> Intake:
        """One array a column, in the type that the signature names."""
        return cls(
            signature,
            matrix=False,
            names=tuple(column.name for column in signature.inputs),
            dtypes=tuple(_dtype_of(column) for column in signature.inputs),
        )

    def from_matrix(self, flat: Values, rows: int) -> Inputs:
        """All columns from one row-major block of ``rows`` x ``width`` values."""
        if self.matrix and isinstance(flat, np.ndarray) and self._only_numbers:
            return (self._narrow(flat.reshape(rows, self.width), self.dtypes[0]),)
        table = flat.reshape(rows, self.width) if isinstance(flat, np.ndarray) else None
        columns: dict[str, Values] = {}
        at = 0
        for column, width in zip(self.columns, self.widths, strict=True):
            if table is not None:
                columns[column.name] = table[:, at : at + width].ravel()
            else:
                columns[column.name] = [value for row in range(rows) for value in flat[row * self.width + at :][:width]]
            at += width
        return self.from_columns(columns, rows)

    def from_rows(self, rows: Sequence[Sequence[float]]) -> Inputs:
        """All columns from rows of ``width`` finite numbers each; only where `rowwise`.

        Raises:
            Refused: a number that is too large for the model.
        """
        dtype = self.dtypes[0]
        array, finite = _made(rows, dtype)
        if not finite:
            for row in rows:
                self.from_matrix(np.array(row, dtype=np.float64), 1)
        return (array,)

    def from_columns(self, given: Mapping[str, Values], rows: int) -> Inputs:
        """All columns by name, each with ``rows`` x its own width values.

        Raises:
            Refused: columns missing, unknown, or holding what the signature does not allow; says which and what.
        """
        self._check_names(given)
        if not self.matrix:
            return tuple(
                self._column(column, given.get(column.name), rows, dtype)
                for column, dtype in zip(self.columns, self.dtypes, strict=True)
            )
        dtype = self.dtypes[0]
        block = np.empty((rows, self.width), dtype=dtype)
        at = 0
        for column, width in zip(self.columns, self.widths, strict=True):
            block[:, at : at + width] = self._column(column, given.get(column.name), rows, dtype).reshape(rows, width)
            at += width
        return (block,)

    def watched(self, inputs: Inputs) -> dict[str, NDArray[Any]]:
        """The same values by column, as profiles count them."""
        found: dict[str, NDArray[Any]] = {}
        at = 0
        for index, (column, width) in enumerate(zip(self.columns, self.widths, strict=True)):
            array = inputs[0][:, at : at + width] if self.matrix else inputs[index]
            at += width
            if column.kind is Kind.BOOLEAN and array.dtype.kind == "f":
                array = _without(array != 0, np.isnan(array))
            elif column.kind is Kind.BOOLEAN:
                array = array != 0
            elif column.kind is Kind.TEXT and column.optional:
                array = _without(array, array == "")
            found[column.name] = array if column.shape else array.reshape(len(array))
        return found

    def _check_names(self, given: Mapping[str, Values]) -> None:
        unknown = [name for name in given if name not in self.by_name]
        if unknown:
            raise bad_input(f"the model has no {_named('column', unknown)}", f"it takes {self._told()}")
        missing = [column.name for column in self.columns if column.name not in given and not column.optional]
        if missing:
            raise bad_input(f"the request lacks the {_named('column', missing)}", f"the model takes {self._told()}")

    def _told(self) -> str:
        return _named("", [column.name for column in self.columns])

    def _column(self, column: Column, values: Values | None, rows: int, dtype: Any) -> NDArray[Any]:
        width = math.prod(column.shape)
        if values is None:
            values = [None] * (rows * width)
        if len(values) != rows * width:
            raise bad_input(f"column {quoted(column.name)} has {len(values)} values, {rows * width} were expected")
        shape = (rows, *(column.shape or (1,)))
        if column.kind is Kind.TEXT:
            return _texts(column, values).reshape(shape)
        array = _numbers(column, values, width)
        if dtype != np.float32 and dtype != np.float64 and array.dtype.kind == "f" and np.isnan(array).any():
            raise bad_input(f"column {quoted(column.name)} needs a value in every row")
        return self._narrow(array, dtype).reshape(shape)

    def _narrow(self, array: NDArray[Any], dtype: Any) -> NDArray[Any]:
        if array.dtype == dtype:
            return array
        narrow, finite = _cast(array, dtype)
        if dtype is np.float32 and not finite and np.isinf(narrow).any():
            worst = array[np.isinf(narrow)].ravel()[0]
            raise bad_input(f"{worst} is too large for this model", "it computes in single precision")
        return narrow


# As a decorator this takes half the time of a `with`, and every request comes by here.
@np.errstate(over="ignore")
def _cast(array: NDArray[Any], dtype: Any) -> tuple[NDArray[Any], bool]:
    """The values in another type, and whether all are known to be finite."""
    narrow = array.astype(dtype)
    if dtype is not np.float32:
        return narrow, False
    # A finite sum of squares means finite values; one product is cheaper than looking at each.
    flat = narrow.ravel()
    return narrow, math.isfinite(flat.dot(flat))


def _dtype_of(column: Column) -> Any:
    if column.kind is Kind.TEXT:
        return np.object_
    if column.kind is Kind.NUMBER or column.optional:
        # A missing value is NaN, which only floats have.
        return np.float32 if column.datatype in ("FP32", "FP16") else np.float64
    return np.bool_ if column.kind is Kind.BOOLEAN else np.int64


@np.errstate(over="ignore")
def _made(rows: Sequence[Sequence[float]], dtype: Any) -> tuple[NDArray[Any], bool]:
    """One array of many rows, and whether all its values are known to be finite."""
    array = np.array(rows, dtype=dtype)
    if dtype is not np.float32:
        return array, True
    flat = array.ravel()
    return array, math.isfinite(flat.dot(flat))


def _without(array: NDArray[Any], absent: NDArray[np.bool_]) -> NDArray[Any]:
    """The values as objects, None where they are absent."""
    found: NDArray[Any] = array.astype(np.object_)
    found[absent] = None
    return found


def _numbers(column: Column, values: Values, width: int) -> NDArray[Any]:
    """Float64 with NaN for null, int64 or bool, shape (values,)."""
    array = (
        values if isinstance(values, np.ndarray) and values.dtype.kind in "fiub" else _from_plain(column, values, width)
    )
    if column.kind is Kind.BOOLEAN:
        with np.errstate(invalid="ignore"):
            if array.dtype.kind != "b" and not np.isin(array[~np.isnan(array)], (0, 1)).all():
                raise bad_input(f"column {quoted(column.name)} wants true or false")
        return array
    if array.dtype.kind == "b":
        raise bad_input(f"column {quoted(column.name)} wants numbers, not true or false")
    if column.kind is Kind.INTEGER and array.dtype.kind == "f":
        broken = array[np.isfinite(array) & (np.floor(array) != array)]
        if len(broken):
            raise bad_input(f"column {quoted(column.name)} wants whole numbers, not {float(broken[0])!r}")
        if (np.abs(array) >= 2.0**63).any():
            raise bad_input(f"column {quoted(column.name)} holds a number beyond 64 bits")
    if column.kind is Kind.INTEGER and array.dtype.kind == "u" and (array > 2**63 - 1).any():
        raise bad_input(f"column {quoted(column.name)} holds a number beyond 64 bits")
    if column.datatype in _NARROW:
        low, high = WHOLE_LIMITS[column.datatype]
        beyond = array[(array < low) | (array > high)]
        if len(beyond):
            raise bad_input(f"column {quoted(column.name)} is {column.datatype}, which cannot hold {beyond[0]:.0f}")
    return array


def _from_plain(column: Column, values: Values, width: int) -> NDArray[Any]:
    """Python values, each looked at."""
    wanted = (bool, int, float) if column.kind is Kind.BOOLEAN else (int, float)
    plain: list[Any] = []
    nulls = False
    for place, value in enumerate(values):
        if value is None:
            if not column.optional:
                raise bad_input(
                    f"column {quoted(column.name)} has no value in row {place // width}",
                    "only optional columns may be null",
                )
            nulls = True
            plain.append(math.nan)
        elif type(value) in wanted and (not isinstance(value, float) or math.isfinite(value)):
            plain.append(value)
        else:
            raise _stranger(column, value, place // width)
    try:
        if column.kind is Kind.INTEGER and not nulls and all(type(value) is int for value in plain):
            return np.array(plain, dtype=np.int64)
        return np.array(plain, dtype=np.float64)
    except OverflowError as error:
        raise bad_input(f"column {quoted(column.name)} holds a number that is too large") from error


def _texts(column: Column, values: Values) -> NDArray[Any]:
    texts: NDArray[Any] = np.empty(len(values), dtype=np.object_)
    width = math.prod(column.shape)
    for place, value in enumerate(values):
        if isinstance(value, str):
            texts[place] = value
        elif value is None and column.optional:
            texts[place] = ""
        else:
            raise _stranger(column, value, place // width)
    return texts


_WANTED = {
    Kind.NUMBER: "numbers",
    Kind.INTEGER: "whole numbers",
    Kind.BOOLEAN: "true or false",
    Kind.TEXT: "text",
}


def _stranger(column: Column, value: Any, row: int) -> Refused:
    hint = f"its datatype is {column.datatype}"
    shown = "null" if value is None else quoted(value.item() if isinstance(value, np.generic) else value)
    return bad_input(f"column {quoted(column.name)} wants {_WANTED[column.kind]}; row {row} has {shown}", hint)


def _named(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(quoted(name) for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    plural = "s" if what and len(names) > 1 else ""
    return f"{what}{plural} {shown}{more}".strip()
