"""Open Inference Protocol v2, JSON: requests read, answers and metadata written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import orjson
from numpy.typing import NDArray

from lockgate.dataplane.batching import Ask, Encode, Row
from lockgate.dataplane.intake import Inputs, Intake, Values
from lockgate.dataplane.lane import Answer, Lane, Served
from lockgate.dataplane.refusal import bad_input, quoted
from lockgate.dataplane.routing import LiveEndpoint
from lockgate.dataplane.tensors import FLOATS, Given, Tensor, block, count_of, values
from lockgate.domain.registry.manifest import Column, Kind, Output

Parameters = dict[str, str | int | float | bool]
T = TypeVar("T", bound=Given)


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


class PlainTensor(msgspec.Struct, gc=False):
    """One input of numbers, flat or nested, read together with its data."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float | list[float]]
    parameters: Parameters | None = None


class PlainRequest(msgspec.Struct, gc=False):
    """The body of nearly every small ``/infer``."""

    inputs: list[PlainTensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[WantedOutput] | None = None


class Writer:
    """Writes the answer to one request."""

    __slots__ = ("_id_part", "outputs")

    def __init__(self, id_part: bytes, outputs: tuple[Served, ...] | None) -> None:
        self._id_part = id_part
        #: None for all of them.
        self.outputs = outputs

    def __call__(self, ask: Ask, answer: Answer) -> bytes:
        outputs = ask.target.lane.served if self.outputs is None else self.outputs
        return self.around(ask, b",".join([output_of(output, answer) for output in outputs]))

    def around(self, ask: Ask, outputs: bytes) -> bytes:
        """The body that holds outputs already written."""
        target = ask.target
        return b'%b%b,"parameters":{"prediction_id":"%b%b%b]}' % (
            target.oip_head,
            self._id_part,
            ask.prediction_id.encode(),
            target.oip_tail,
            outputs,
        )


write = Writer(b"", None)

#: Bodies up to here are worth being read in one go.
_SMALL = 4000
#: How a request of one tensor with several values a row begins; one of a tensor a column is not parsed twice.
_MATRIX = re.compile(rb'\s*{\s*"inputs"\s*:\s*\[\s*{[^\]}]*"shape"\s*:\s*\[\s*\d+\s*,\s*(\d{1,9})\s*\]')
_plain = msgspec.json.Decoder(PlainRequest)
_decoder = msgspec.json.Decoder(InferenceRequest)
_numpy = orjson.OPT_SERIALIZE_NUMPY


def read(body: bytes, lane: Lane) -> tuple[Inputs | Row, Encode]:
    """The checked inputs of a request, and what will write its answer.

    Raises:
        Refused: anything that is not a request this model can take, with which input and why.
    """
    if lane.intake.rowwise and len(body) < _SMALL and (row := _read_row(body, lane)) is not None:
        return row
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise bad_input(
            f"this is not an inference request: {error}", 'send {"inputs": [{"name", "shape", "datatype", "data"}]}'
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"the body is not JSON: {error}", "NaN and Infinity are no JSON either") from error
    try:
        inputs = inputs_of(request.inputs, lane.intake, values)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"the body is not JSON: {error}") from error
    wanted = wanted_of(request.outputs, lane) if request.outputs else None
    return inputs, _writer(request.id, wanted)


def read_block(body: bytes, lane: Lane) -> tuple[Inputs, Encode] | None:
    """A large request that is one tensor of floats for all columns and nothing else; None leaves it to `read`.

    Raises:
        Refused: as `read`.
    """
    begins = _MATRIX.match(body) if len(body) >= _SMALL else None
    if begins is None or int(begins[1]) != lane.intake.width:
        return None
    found = block(body)
    if found is None or not _is_block(found, lane.intake):
        return None
    return lane.intake.from_matrix(found.values, _rows(found)), write


def _read_row(body: bytes, lane: Lane) -> tuple[Row, Encode] | None:
    """A request that is one row of plain numbers and nothing special; None leaves it to the thorough way."""
    try:
        request = _plain.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    intake = lane.intake
    if len(request.inputs) != 1 or request.parameters or request.outputs:
        return None
    tensor = request.inputs[0]
    if tensor.shape != [1, intake.width] or tensor.datatype not in FLOATS or tensor.parameters:
        return None
    if tensor.name in intake.by_name and len(intake.columns) > 1:
        return None
    row: Any = tensor.data
    if len(row) == 1 and type(row[0]) is list:
        row = row[0]
    elif any(type(value) is list for value in row):
        return None
    return (row, _writer(request.id, None)) if len(row) == intake.width else None


def _writer(id: str | None, wanted: tuple[Served, ...] | None) -> Writer:
    if id is None and wanted is None:
        return write
    return Writer(b"" if id is None else b',"id":' + orjson.dumps(id), wanted)


def bodies(batch: list[Ask], answers: list[Answer], whole: Answer) -> list[bytes]:
    """The bodies of the answers of a batch whose requests were all answered; the same bytes as one by one."""
    plain = [
        encode for ask in batch if type(encode := ask.encode) is Writer and encode.outputs is None and ask.rows == 1
    ]
    if len(batch) == 1 or len(plain) != len(batch) or whole.others:
        return [ask.encode(ask, answer) for ask, answer in zip(batch, answers, strict=True)]
    rows = _rows_written(batch[0].target.lane, whole)
    return [encode.around(ask, row) for encode, ask, row in zip(plain, batch, rows, strict=True)]


def _rows_written(lane: Lane, whole: Answer) -> list[bytes]:
    """For each row alone, all its outputs."""
    count, width = whole.scores.shape
    outputs: list[list[bytes]] = []
    for served in lane.served:
        if served.labels:
            head = served.head + b"1" + served.middle
            outputs.append([b"%b%b}" % (head, orjson.dumps([label])) for label in whole.labels or ()])
            continue
        shape = b"1,%d" % width if width > 1 or served.output.shape else b"1"
        head = served.head + shape + served.middle
        cells = orjson.dumps(whole.scores.reshape(count, width), option=_numpy)[2:-2].split(b"],[")
        outputs.append([b"%b[%b]}" % (head, cell) for cell in cells])
    return outputs[0] if len(outputs) == 1 else [b",".join(parts) for parts in zip(*outputs, strict=True)]


def output_of(served: Served, answer: Answer) -> bytes:
    """One output as JSON."""
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


def wanted_of(outputs: list[WantedOutput], lane: Lane) -> tuple[Served, ...]:
    """The outputs a caller asks for; raises Refused for one that the model does not have."""
    known = {served.output.name: served for served in lane.served}
    for output in outputs:
        if output.name not in known:
            raise bad_input(f"the model has no output {quoted(output.name)}", "it has " + ", ".join(known))
    return tuple(known[output.name] for output in outputs)


def inputs_of(tensors: Sequence[T], intake: Intake, values: Callable[[T], Values]) -> Inputs:
    """The checked inputs that tensors make, one block of all columns or one tensor a column; ``values`` reads one.

    Raises:
        Refused: they are not what the signature takes.
    """
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


def _rows(tensor: Given) -> int:
    rows = tensor.shape[0]
    if rows == 0:
        raise bad_input(f"input {quoted(tensor.name)} has no rows", "send one row at least")
    return rows


def _is_block(tensor: Given, intake: Intake) -> bool:
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


def _check_column(tensor: Given, column: Column) -> None:
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
