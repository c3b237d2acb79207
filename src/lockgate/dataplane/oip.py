"""Open Inference Protocol v2, JSON: requests read, answers and metadata written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import orjson
from numpy.typing import NDArray

from lockgate.dataplane.batching import Ask
from lockgate.dataplane.intake import Inputs, Intake, Values
from lockgate.dataplane.lane import Answer, Lane, Served
from lockgate.dataplane.refusal import bad_input, quoted
from lockgate.dataplane.routing import LiveEndpoint
from lockgate.dataplane.tensors import Tensor, count_of, values
from lockgate.domain.registry.manifest import Column, Kind, Output

Parameters = dict[str, str | int | float | bool]


class WantedOutput(msgspec.Struct):
    """One output the caller asks for."""

    name: str
    parameters: Parameters | None = None


class InferenceRequest(msgspec.Struct):
    """The body of ``/infer``."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[WantedOutput] | None = None


_decoder = msgspec.json.Decoder(InferenceRequest)
_numpy = orjson.OPT_SERIALIZE_NUMPY


def read(body: bytes, lane: Lane) -> tuple[Inputs, Callable[[Ask, Answer], bytes]]:
    """The checked inputs of a request, and what will write its answer.

    Raises:
        Refused: anything that is not a request this model can take, with which input and why.
    """
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise bad_input(
            f"this is not an inference request: {error}", 'send {"inputs": [{"name", "shape", "datatype", "data"}]}'
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"the body is not JSON: {error}", "NaN and Infinity are no JSON either") from error
    try:
        inputs = _inputs(request.inputs, lane.intake)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"the body is not JSON: {error}") from error
    wanted = _wanted(request.outputs, lane) if request.outputs else None
    if request.parameters or request.outputs:
        _refuse_binary(request)
    if wanted is None and request.id is None:
        return inputs, write
    id_part = b"" if request.id is None else b',"id":' + orjson.dumps(request.id)
    chosen = wanted or lane.served
    return inputs, lambda ask, answer: _write(ask, answer, id_part, chosen)


def write(ask: Ask, answer: Answer) -> bytes:
    """The answer with every output, to a request without an id."""
    return _write(ask, answer, b"", ask.target.lane.served)


def _write(ask: Ask, answer: Answer, id_part: bytes, outputs: tuple[Served, ...]) -> bytes:
    target = ask.target
    return b'%b%b,"parameters":{"prediction_id":"%b%b%b]}' % (
        target.oip_head,
        id_part,
        ask.prediction_id.encode(),
        target.oip_tail,
        b",".join([_output(output, answer) for output in outputs]),
    )


def _output(served: Served, answer: Answer) -> bytes:
    if served.other:
        return _other(served, answer.others[served.other])
    rows, width = answer.scores.shape
    if served.labels:
        return b"%b%d%b%b}" % (served.head, rows, served.middle, orjson.dumps(answer.labels))
    shape = b"%d,%d" % (rows, width) if width > 1 or served.output.shape else b"%d" % rows
    return b"%b%b%b%b}" % (served.head, shape, served.middle, orjson.dumps(answer.scores.ravel(), option=_numpy))


def _other(served: Served, values: NDArray[Any]) -> bytes:
    shape = b",".join(b"%d" % size for size in values.shape)
    flat = values.ravel()
    data = orjson.dumps(flat.tolist()) if flat.dtype.kind == "O" else orjson.dumps(flat, option=_numpy)
    return b"%b%b%b%b}" % (served.head, shape, served.middle, data)


def metadata(endpoint: LiveEndpoint, lane: Lane) -> dict[str, Any]:
    """``GET /v2/models/{m}``."""
    signature = lane.manifest.signature
    return {
        "name": endpoint.name,
        "versions": sorted(endpoint.by_number, key=int),
        "platform": f"{lane.platform}_{lane.manifest.flavor}",
        "inputs": [_described(item) for item in signature.inputs],
        "outputs": [_described(item) for item in signature.outputs],
    }


def _described(item: Column | Output) -> dict[str, Any]:
    return {"name": item.name, "datatype": item.datatype, "shape": [-1, *item.shape]}


def _wanted(outputs: list[WantedOutput], lane: Lane) -> tuple[Served, ...]:
    known = {served.output.name: served for served in lane.served}
    for output in outputs:
        if output.name not in known:
            raise bad_input(f"the model has no output {quoted(output.name)}", "it has " + ", ".join(known))
    return tuple(known[output.name] for output in outputs)


def _refuse_binary(request: InferenceRequest) -> None:
    asked = [request.parameters or {}, *((output.parameters or {}) for output in request.outputs or ())]
    if any(part.get("binary_data_output") or part.get("binary_data") for part in asked):
        raise bad_input("binary tensors are not served here", "ask for JSON: set binary_data to false")


def _inputs(tensors: list[Tensor], intake: Intake) -> Inputs:
    if not tensors:
        raise bad_input("the request has no inputs", "see GET /v2/models/<endpoint>")
    if len(tensors) == 1 and _is_block(tensors[0], intake):
        flat = values(tensors[0])
        return intake.from_matrix(flat, _rows(tensors[0]))
    given: dict[str, Values] = {}
    count_of(tensors[0])
    rows = _rows(tensors[0])
    for tensor in tensors:
        count_of(tensor)
        if tensor.name in given:
            raise bad_input(f"input {quoted(tensor.name)} comes twice")
        if _rows(tensor) != rows:
            raise bad_input(f"input {quoted(tensor.name)} has {_rows(tensor)} rows, others have {rows}")
        column = intake.by_name.get(tensor.name)
        if column is not None:
            _check_column(tensor, column)
        given[tensor.name] = values(tensor)
    return intake.from_columns(given, rows)


def _rows(tensor: Tensor) -> int:
    rows = tensor.shape[0]
    if rows == 0:
        raise bad_input(f"input {quoted(tensor.name)} has no rows", "send one row at least")
    return rows


def _is_block(tensor: Tensor, intake: Intake) -> bool:
    """Whether one tensor stands for all columns: it has no column's name, and as many numbers a row as they."""
    if tensor.name in intake.by_name:
        return False
    if len(tensor.shape) == 2 and tensor.shape[1] == intake.width and intake.all_numbers:
        return tensor.datatype != "BYTES"
    if len(tensor.shape) == 2 and intake.all_numbers and tensor.shape[1] != 1:
        raise bad_input(
            f"input {quoted(tensor.name)} has {tensor.shape[1]} values a row, the model takes {intake.width}"
        )
    return False


def _check_column(tensor: Tensor, column: Column) -> None:
    rest = tensor.shape[1:]
    if tuple(rest) != column.shape and not (not column.shape and rest == [1]):
        expected = [tensor.shape[0], *column.shape]
        raise bad_input(f"input {quoted(column.name)} has the shape {tensor.shape}, {expected} was expected")
    if (tensor.datatype == "BYTES") != (column.kind is Kind.TEXT):
        raise bad_input(
            f"input {quoted(column.name)} has the datatype {tensor.datatype}", f"the model takes {column.datatype}"
        )
    if tensor.datatype == "BOOL" and column.kind is not Kind.BOOLEAN:
        raise bad_input(f"input {quoted(column.name)} has the datatype BOOL", f"the model takes {column.datatype}")
