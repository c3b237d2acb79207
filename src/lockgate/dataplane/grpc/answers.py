"""Answers to ``ModelInfer``, put together from parts that are made once a version."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockgate.dataplane import rawtensors
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.grpc.schema import message
from lockgate.dataplane.grpc.wire import CONTENT_TYPE, PREFIX, field, varint
from lockgate.dataplane.http2.headers import block, literal
from lockgate.dataplane.lane import Answer, Served
from lockgate.dataplane.routing import LiveTarget

_Contents = message("inference.InferTensorContents")
#: The field of typed contents that holds a datatype's values.
FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
#: Floats that are packed, as all clients send them, lie in the message as NumPy wants them.
PACKED = {"FP32": (b"\x32", np.dtype("<f4")), "FP64": (b"\x3a", np.dtype("<f8"))}
_PREDICTION_ID = field(1, b"prediction_id")
#: Labels of which the written form is kept; a model has few, one that has more writes them anew.
_MOST_LABELS = 1000


class Written:
    """One output, and the parts of its message that are always the same."""

    __slots__ = ("_head", "_labels", "_shapes", "datatype", "served")

    def __init__(self, served: Served) -> None:
        self.served = served
        self.datatype = served.output.datatype
        self._head = field(1, served.output.name.encode()) + field(2, self.datatype.encode())
        self._shapes: dict[tuple[int, ...], bytes] = {}
        self._labels: dict[Any, tuple[bytes, bytes]] = {}

    def write(self, answer: Answer, *, raw: bool) -> tuple[bytes, bytes]:
        """The output, and its raw contents where it has those; both as fields of the answer's message."""
        served = self.served
        if served.labels and answer.labels is not None:
            if len(answer.labels) == 1:
                return self._label(answer.labels, raw)
            return self._whole((len(answer.labels),), answer.labels, raw)
        if served.other:
            values = answer.others[served.other]
            return self._whole(values.shape, values.ravel(), raw)
        rows, width = answer.scores.shape
        shape = (rows, width) if width > 1 or served.output.shape else (rows,)
        return self._whole(shape, answer.scores.ravel(), raw)

    def _label(self, labels: list[Any], raw: bool) -> tuple[bytes, bytes]:
        key = labels[0], raw
        found = self._labels.get(key)
        if found is None:
            found = self._whole((1,), labels, raw)
            if len(self._labels) < _MOST_LABELS:
                self._labels[key] = found
        return found

    def _whole(self, shape: tuple[int, ...], values: Any, raw: bool) -> tuple[bytes, bytes]:
        described = self._shapes.get(shape)
        if described is None:
            described = self._head + field(3, b"".join([varint(size) for size in shape]))
            if len(self._shapes) < _MOST_LABELS:
                self._shapes[shape] = described
        if raw:
            return field(5, described), field(6, rawtensors.encode(values, self.datatype))
        return field(5, described + field(5, _contents(values, self.datatype))), b""


class Stamp:
    """What all answers of one version on one endpoint in one generation have in common."""

    __slots__ = ("_head", "_id_size", "_message", "by_name", "only_raw", "outputs")

    def __init__(self, target: LiveTarget, id_size: int) -> None:
        self._id_size = id_size
        # Both end where the prediction's id follows.
        self._head = block(
            [
                CONTENT_TYPE,
                (b"x-lockgate-version", target.version.encode()),
                (b"x-lockgate-generation", b"%d" % target.generation),
            ],
            status=200,
        ) + (b"\x00" + literal(b"x-lockgate-prediction-id") + literal(bytes(id_size))[:-id_size])
        self._message = b"".join(
            (
                field(1, target.endpoint.encode()),
                field(2, b"%d" % target.target.number),
                field(4, field(1, b"generation") + field(2, b"\x10" + varint(target.generation))),
                field(4, _PREDICTION_ID + field(2, field(3, bytes(id_size))))[:-id_size],
            )
        )
        self.outputs = tuple(Written(served) for served in target.lane.served)
        self.by_name = {written.served.output.name: written for written in self.outputs}
        #: Half-precision numbers have no typed contents.
        self.only_raw = any(written.datatype == "FP16" for written in self.outputs)

    @classmethod
    def of(cls, target: LiveTarget, id_size: int = 26) -> Stamp:
        """The stamp of a version, made when it is first asked for."""
        found: Stamp | None = target.grpc
        if found is None or found._id_size != id_size:
            found = target.grpc = cls(target, id_size)
        return found

    def head(self, prediction_id: bytes) -> bytes:
        """The headers of an answer."""
        return self._head + prediction_id

    def message(self, prediction_id: bytes) -> bytes:
        """What an answer's message begins with."""
        return self._message + prediction_id


def write(ask: Ask, answer: Answer) -> bytes:
    """The message of an answer behind its length; its exchange gets the headers that go before."""
    exchange: Any = ask.exchange
    prediction_id = ask.prediction_id.encode()
    stamp = Stamp.of(ask.target, len(prediction_id))
    exchange.stamp = stamp.head(prediction_id)
    raw = exchange.raw or stamp.only_raw
    parts = [b"", stamp.message(prediction_id)]
    if exchange.id:
        parts.append(field(3, exchange.id.encode()))
    raws: list[bytes] = []
    for written in exchange.outputs or stamp.outputs:
        described, contents = written.write(answer, raw=raw)
        parts.append(described)
        raws.append(contents)
    parts += raws
    parts[0] = PREFIX.pack(0, sum(map(len, parts)))
    return b"".join(parts)


def _contents(values: Any, datatype: str) -> bytes:
    packed = PACKED.get(datatype)
    if packed is not None:
        data = np.asarray(values, packed[1]).tobytes()
        return packed[0] + varint(len(data)) + data
    if datatype == "BYTES":
        return b"".join([field(8, str(value).encode()) for value in values])
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return _Contents(**{FIELDS[datatype]: plain}).SerializeToString()
