"""The Open Inference Protocol's binary tensor extension: raw tensors behind the JSON, in requests and in answers."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from numpy.typing import NDArray

from lockgate.dataplane import oip, rawtensors
from lockgate.dataplane.batching import Ask, Encode
from lockgate.dataplane.intake import Inputs, Values
from lockgate.dataplane.lane import Answer, Lane, Served
from lockgate.dataplane.oip import Parameters, WantedOutput
from lockgate.dataplane.refusal import bad_input, quoted
from lockgate.dataplane.tensors import KNOWN, Tensor, count_of, values

_SIZE = "binary_data_size"
_NO_JSON = "NaN and Infinity are no JSON either"
_HINT = "Inference-Header-Content-Length is the length of the JSON; the tensors follow it in their order"


_NOTHING = msgspec.Raw(b"")


class AnyTensor(msgspec.Struct):
    """One input, its values in the JSON or behind it."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = _NOTHING
    parameters: Parameters | None = None


class AnyRequest(msgspec.Struct):
    """The JSON of any request, also of one that sends or wants raw tensors."""

    inputs: list[AnyTensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[WantedOutput] | None = None


_decoder = msgspec.json.Decoder(AnyRequest)


def read(body: bytes, header: bytes | None, lane: Lane) -> tuple[Inputs, Encode, Parameters | None]:
    """The checked inputs of a request, what will write its answer, and what else it says.

    ``header``: of Inference-Header-Content-Length, None when all of the body is JSON.

    Raises:
        Refused: anything that is not a request this model can take, with which input and why.
    """
    length = len(body) if header is None else _length(header, len(body))
    try:
        request = _decoder.decode(body if header is None else body[:length])
        raw = _Raw(memoryview(body)[length:], request.inputs)
        inputs = oip.inputs_of(request.inputs, lane.intake, raw.values)
    except msgspec.ValidationError as error:
        raise bad_input(
            f"this is not an inference request: {error}", 'send {"inputs": [{"name", "shape", "datatype", "data"}]}'
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"the body is not JSON: {error}", _HINT if header else _NO_JSON) from error
    return inputs, _writer(request, lane), request.parameters


def _length(header: bytes, most: int) -> int:
    if not header.isdigit() or len(header) > 18 or int(header) > most:
        raise bad_input(f"Inference-Header-Content-Length is {quoted(header.decode('latin-1'))}", _HINT)
    return int(header)


class _Raw:
    """The bytes behind the JSON, cut into the inputs' own."""

    def __init__(self, rest: memoryview, tensors: list[AnyTensor]) -> None:
        self._parts: dict[int, memoryview] = {}
        at = 0
        for tensor in tensors:
            size = (tensor.parameters or {}).get(_SIZE)
            if size is None:
                continue
            if type(size) is not int or size < 0:
                raise bad_input(f"input {quoted(tensor.name)} has the {_SIZE} {quoted(size)}")
            self._parts[id(tensor)] = rest[at : at + size]
            at += size
        if at != len(rest):
            raise bad_input(f"{len(rest)} bytes follow the JSON, and the inputs' {_SIZE} add up to {at}", _HINT)

    def values(self, tensor: AnyTensor) -> Values:
        """What one input holds."""
        raw = self._parts.get(id(tensor))
        if raw is None:
            if not tensor.data:
                raise bad_input(f"input {quoted(tensor.name)} has neither data nor a {_SIZE}")
            return values(Tensor(tensor.name, tensor.shape, tensor.datatype, tensor.data, tensor.parameters))
        if tensor.data:
            raise bad_input(f"input {quoted(tensor.name)} has both data and a {_SIZE}", "send one of them")
        return rawtensors.decode(tensor.datatype, raw, count_of(tensor), tensor.name)


def _writer(request: AnyRequest, lane: Lane) -> Encode:
    everywhere = _flag(request.parameters, "binary_data_output", default=False)
    outputs: list[tuple[Served, bool]]
    if request.outputs:
        chosen = oip.wanted_of(request.outputs, lane)
        flags = [_flag(output.parameters, "binary_data", default=everywhere) for output in request.outputs]
        outputs = list(zip(chosen, flags, strict=True))
    else:
        outputs = [(served, everywhere) for served in lane.served]
    for served, raw in outputs:
        if raw and served.output.datatype not in KNOWN:
            raise bad_input(f"output {quoted(served.output.name)} has no raw form", "ask for it as JSON")
    plain = oip.Writer(
        b"" if request.id is None else b',"id":' + orjson.dumps(request.id), tuple(served for served, _ in outputs)
    )
    return BinaryWriter(plain, outputs) if any(raw for _, raw in outputs) else plain


def _flag(parameters: Parameters | None, name: str, *, default: bool) -> bool:
    found = (parameters or {}).get(name, default)
    if not isinstance(found, bool):
        raise bad_input(f"the parameter {name} is {quoted(found)}", "it is true or false")
    return found


class BinaryWriter:
    """Writes an answer with raw tensors behind its JSON."""

    __slots__ = ("_outputs", "_plain")

    def __init__(self, plain: oip.Writer, outputs: list[tuple[Served, bool]]) -> None:
        self._plain = plain
        self._outputs = outputs

    def __call__(self, ask: Ask, answer: Answer) -> bytes:
        described: list[bytes] = []
        tensors: list[bytes] = []
        for served, raw in self._outputs:
            if not raw:
                described.append(oip.output_of(served, answer))
                continue
            shape, found = _values(served, answer)
            datatype = served.output.datatype
            tensors.append(rawtensors.encode(found, datatype))
            described.append(
                orjson.dumps(
                    {
                        "name": served.output.name,
                        "shape": shape,
                        "datatype": datatype,
                        "parameters": {_SIZE: len(tensors[-1])},
                    }
                )
            )
        text = self._plain.around(ask, b",".join(described))
        if ask.exchange is not None:
            ask.exchange.json_length = len(text)
        return b"".join((text, *tensors))


def _values(served: Served, answer: Answer) -> tuple[list[int], NDArray[Any] | list[Any]]:
    """The shape and the flat values of one output, as its JSON would have them."""
    if served.other:
        found = answer.others[served.other]
        return list(found.shape), found.ravel()
    rows, width = answer.scores.shape
    if served.labels:
        return [rows], answer.labels or []
    return [rows, width] if width > 1 or served.output.shape else [rows], answer.scores.ravel()
