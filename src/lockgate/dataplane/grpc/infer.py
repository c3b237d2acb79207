"""``ModelInfer`` requests into inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from lockgate.dataplane import rawtensors
from lockgate.dataplane.grpc.answers import FIELDS, PACKED, Stamp, Written
from lockgate.dataplane.grpc.exchange import GrpcExchange
from lockgate.dataplane.grpc.schema import message
from lockgate.dataplane.grpc.wire import varint
from lockgate.dataplane.intake import Inputs, Intake, Values
from lockgate.dataplane.oip import inputs_of
from lockgate.dataplane.refusal import bad_input, quoted
from lockgate.dataplane.routing import LiveTarget
from lockgate.dataplane.tensors import FLOATS, KNOWN, check_whole, count_of
from lockgate.dataplane.terms import heed_parameters

_Request = message("lockgate.reading.Request")
_Contents = message("inference.InferTensorContents")

#: The arrays that typed contents become.
_ARRAYS: dict[str, Any] = {
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"), np.int64),
    "UINT64": np.uint64,
    "FP32": np.float32,
    "FP64": np.float64,
    "BOOL": np.bool_,
}
#: Longest beginning of a message that is worth being remembered.
_LONGEST_BEGINNING = 1024
#: Models for which one is remembered: those that share an endpoint, and those before the last change.
_MOST_MODELS = 4


class Pattern:
    """A request with one block of floats at its end, without the floats.

    The bytes before them say all of a message but their values, its lengths included. So a request of the same length
    that begins with the same bytes is the same request with other values.
    """

    __slots__ = ("_beginning", "_dtype", "_intakes", "_name", "_rows", "_size", "model", "raw", "version")

    def __init__(self, beginning: bytes, request: Any, tensor: Tensor, intake: Intake, *, raw: bool) -> None:
        self._beginning = beginning
        self._dtype = PACKED[tensor.datatype][1]
        self._name = tensor.name
        self._rows = tensor.shape[0]
        self._size = len(beginning) + self._rows * tensor.shape[1] * self._dtype.itemsize
        #: The models that were found to take it.
        self._intakes = [intake]
        self.model: str = request.model_name
        self.version: str = request.model_version
        self.raw = raw

    def fits(self, data: bytes) -> bool:
        """Whether a message is one of these."""
        return len(data) == self._size and data.startswith(self._beginning)

    def learn(self, other: Pattern) -> Pattern:
        """What to remember when a message that fits was read with care after all, since another model got it."""
        if other._beginning != self._beginning:
            return other
        self._intakes = (self._intakes + other._intakes)[-_MOST_MODELS:]
        return self

    def inputs(self, data: bytes, intake: Intake) -> Inputs | None:
        """The checked inputs of a message; None where it is not known whether this model takes it. Raises Refused."""
        if not any(known is intake for known in self._intakes):
            return None
        array = np.frombuffer(data[len(self._beginning) :], self._dtype)
        return intake.from_matrix(rawtensors.checked(array, self._name), self._rows)


class Tensor:
    """One input, its values not read yet."""

    __slots__ = ("contents", "datatype", "name", "raw", "shape")

    def __init__(self, given: Any, raw: bytes | None) -> None:
        self.name: str = given.name
        self.datatype: str = given.datatype
        self.shape: list[int] = list(given.shape)
        #: Its values as raw bytes, where the request has them.
        self.raw = raw
        #: Else the pieces of its typed contents.
        self.contents: list[bytes] = given.contents


def parsed(data: bytes) -> Any:
    """A request; raises Refused."""
    try:
        return _Request.FromString(data)
    except DecodeError as error:
        raise bad_input("the message is no ModelInferRequest", "see inference.GRPCInferenceService") from error


def read(exchange: GrpcExchange, target: LiveTarget) -> Inputs:
    """The checked inputs of the exchange's message, which also learns how it is to be answered.

    Raises:
        Refused: anything that is not a request this model can take, with which input and why.
    """
    intake = target.lane.intake
    pattern: Pattern | None = exchange.pattern
    if pattern is not None:
        inputs = pattern.inputs(exchange.body, intake)
        if inputs is not None:
            exchange.raw = pattern.raw
            return inputs
    request = exchange.request or parsed(exchange.body)
    tensors = _tensors(request)
    inputs = inputs_of(tensors, intake, values)
    exchange.raw = tensors[0].raw is not None
    exchange.id = request.id
    if request.outputs:
        exchange.outputs = _wanted(request.outputs, Stamp.of(target))
    if request.parameters:
        _heed(exchange, request.parameters)
    elif not (request.id or request.outputs):
        exchange.learnt = _pattern(exchange, request, tensors, intake)
    return inputs


def _tensors(request: Any) -> list[Tensor]:
    raws = request.raw_input_contents
    given = request.inputs
    if not raws:
        return [Tensor(item, None) for item in given]
    if len(raws) != len(given):
        raise bad_input(f"the request has {len(given)} inputs and {len(raws)} raw contents")
    tensors = [Tensor(*pair) for pair in zip(given, raws, strict=True)]
    if any(tensor.contents for tensor in tensors):
        raise bad_input("the request has raw contents and typed contents", "send one of the two")
    return tensors


def _pattern(exchange: GrpcExchange, request: Any, tensors: list[Tensor], intake: Intake) -> Pattern | None:
    """What to know requests like this one by; None where they have to be read with care."""
    tensor = tensors[0]
    packed = PACKED.get(tensor.datatype)
    if len(tensors) > 1 or packed is None or tensor.name in intake.by_name or len(tensor.shape) != 2:
        return None
    tag, dtype = packed
    size = tensor.shape[0] * tensor.shape[1] * dtype.itemsize
    beginning = exchange.body[: len(exchange.body) - size]
    if len(beginning) > _LONGEST_BEGINNING:
        return None
    # The floats are the end of the message when what goes before them there is the head of the field that holds them.
    head = (tag if tensor.raw is None else b"\x3a") + varint(size)
    end = tensor.raw if tensor.raw is not None else tensor.contents[-1]
    if not beginning.endswith(head) or not exchange.body.endswith(end):
        return None
    return Pattern(beginning, request, tensor, intake, raw=exchange.raw)


def values(tensor: Tensor) -> Values:
    """The values of an input in row-major order; raises Refused where they are not what it says."""
    count = count_of(tensor)
    if tensor.raw is not None:
        return rawtensors.decode(tensor.datatype, tensor.raw, count, tensor.name)
    parts = tensor.contents
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    packed = PACKED.get(tensor.datatype)
    if packed is not None:
        tag, dtype = packed
        size = count * dtype.itemsize
        head = tag + varint(size)
        if len(data) == len(head) + size and data.startswith(head):
            return rawtensors.checked(np.frombuffer(data[len(head) :], dtype), tensor.name)
    return _typed(tensor, data, count)


def _typed(tensor: Tensor, data: bytes, count: int) -> Values:
    if tensor.datatype not in FIELDS:
        known = tensor.datatype in KNOWN
        raise bad_input(
            f"input {quoted(tensor.name)} has the datatype {quoted(tensor.datatype)}",
            "FP16 goes into raw_input_contents" if known else "use one of " + ", ".join(sorted(KNOWN)),
        )
    name = FIELDS[tensor.datatype]
    try:
        found = getattr(_Contents.FromString(data), name)
    except DecodeError as error:
        raise bad_input(f"the contents of input {quoted(tensor.name)} cannot be read") from error
    if len(found) != count:
        raise bad_input(
            f"input {quoted(tensor.name)} has {len(found)} values in {name} but its shape {tensor.shape} says {count}",
            f"values of {tensor.datatype} go into {name} or raw_input_contents",
        )
    if tensor.datatype == "BYTES":
        try:
            return [text.decode() for text in found]
        except UnicodeDecodeError as error:
            raise bad_input(f"input {quoted(tensor.name)} has text that is not UTF-8") from error
    array: NDArray[Any] = np.fromiter(found, _ARRAYS[tensor.datatype], count)
    if tensor.datatype in FLOATS:
        return rawtensors.checked(array, tensor.name)
    if count and tensor.datatype != "BOOL":
        check_whole(tensor, array)
    return array


def _heed(exchange: GrpcExchange, parameters: Any) -> None:
    """Take in what a request says of how it is to be answered."""
    plain: dict[str, Any] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        plain[name] = None if choice is None else getattr(parameter, choice)
    if "binary_data_output" in plain:
        exchange.raw = bool(plain["binary_data_output"])
    heed_parameters(exchange, plain)


def _wanted(outputs: Any, stamp: Stamp) -> tuple[Written, ...]:
    for output in outputs:
        if output.name not in stamp.by_name:
            raise bad_input(f"the model has no output {quoted(output.name)}", "it has " + ", ".join(stamp.by_name))
    return tuple(stamp.by_name[output.name] for output in outputs)
