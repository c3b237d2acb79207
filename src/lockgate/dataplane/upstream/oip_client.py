"""Our side of an Open Inference Protocol server elsewhere: checked rows as its request, its answer as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from lockgate.dataplane import rawtensors, tensors
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer
from lockgate.dataplane.refusal import Refused, bad_input, quoted
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.remote import Remote, RemoteTensor

_HEADER_LENGTH = "inference-header-content-length"
_JSON = {"content-type": "application/json"}
_NARROW = {"FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_NUMBERS = orjson.OPT_SERIALIZE_NUMPY


class NoAnswer(Exception):
    """The answer is none that this package can give"""


class _Output(tensors.Tensor):
    data: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct):
    outputs: list[_Output]
    model_version: str | None = None


_decoder = msgspec.json.Decoder(_Body)


def request(remote: Remote, inputs: Inputs) -> tuple[bytes, dict[str, str]]:
    """Body and headers."""
    raw: list[bytes] = []
    described = [_described(tensor, array, raw if remote.binary else None) for tensor, array in _paired(remote, inputs)]
    body: dict[str, Any] = {"inputs": described}
    if not remote.binary:
        return orjson.dumps(body, option=_NUMBERS), _JSON
    body["parameters"] = {"binary_data_output": True}
    head = orjson.dumps(body)
    headers = {"content-type": "application/octet-stream", _HEADER_LENGTH: str(len(head))}
    return b"".join((head, *raw)), headers


def answer(
    remote: Remote, manifest: Manifest, headers: Mapping[str, str], body: bytes, rows: int
) -> tuple[Answer, str | None]:
    """What the server said, and which version of its model it says has answered.

    Raises:
        NoAnswer: it is not what the package promises; the sentence says in what.
    """
    head, raw = _parted(headers, body)
    try:
        found = _decoder.decode(head)
        values = _values(found.outputs, raw)
    except Refused as refused:
        raise NoAnswer(refused.message) from refused
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NoAnswer(f"it is not an answer of the protocol: {error}") from error
    shapes = {output.name: output.shape for output in found.outputs}
    wanted = [output.name for output in remote.outputs]
    missing = [name for name in wanted if name not in values]
    if missing:
        raise NoAnswer(f"the output {missing[0]!r} is missing")
    odd = [name for name in wanted if not shapes[name] or shapes[name][0] != rows]
    if odd:
        raise NoAnswer(f"the output {odd[0]!r} has the shape {shapes[odd[0]]} for {rows} rows")
    return _assembled(remote, manifest, {name: (values[name], shapes[name]) for name in wanted}), found.model_version


def _assembled(remote: Remote, manifest: Manifest, found: dict[str, tuple[Any, list[int]]]) -> Answer:
    if not remote.score_output and not remote.label_output:
        shaped = {
            mine.name: _array(*found[theirs.name], theirs.datatype)
            for mine, theirs in zip(manifest.signature.outputs, remote.outputs, strict=True)
        }
        return Answer(np.empty((len(next(iter(shaped.values()))), 0)), None, shaped)
    labels: list[Any] | None = None
    if remote.label_output:
        values = found[remote.label_output][0]
        labels = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not remote.score_output:
        return Answer(np.empty((len(labels or ()), 0)), labels)
    scores, shape = found[remote.score_output]
    table = _array(scores, shape, "FP64").reshape(shape[0], -1)
    width = len(manifest.classes) or 1
    if table.shape[1] != width:
        raise NoAnswer(f"the output {remote.score_output!r} has {table.shape[1]} numbers a row in place of {width}")
    return Answer(table, labels)


def _paired(remote: Remote, inputs: Inputs) -> list[tuple[RemoteTensor, NDArray[Any]]]:
    return list(zip(remote.inputs, inputs, strict=True))


def _described(tensor: RemoteTensor, array: NDArray[Any], raw: list[bytes] | None) -> dict[str, Any]:
    shape = [len(array), *tensor.shape[1:]]
    described: dict[str, Any] = {"name": tensor.name, "shape": shape, "datatype": tensor.datatype}
    flat = np.ascontiguousarray(array).ravel()
    if raw is None:
        described["data"] = _plain(flat, tensor.datatype)
    else:
        raw.append(_raw(tensor, flat))
        described["parameters"] = {"binary_data_size": len(raw[-1])}
    return described


def _raw(tensor: RemoteTensor, flat: NDArray[Any]) -> bytes:
    """As bytes; raises Refused for a value that the server's type cannot hold."""
    with np.errstate(all="ignore"):
        data = rawtensors.encode(flat, tensor.datatype)
    if flat.dtype.kind == "O":
        return data
    if tensor.datatype in _NARROW:
        fits = ~np.isinf(np.frombuffer(data, _NARROW[tensor.datatype]))
    else:
        fits = np.asarray(rawtensors.decode(tensor.datatype, data, len(flat), tensor.name)) == flat
    if not fits.all():
        worst = flat[~fits][0]
        told = "nothing" if worst != worst else f"{worst:g}"
        raise bad_input(f"column {quoted(tensor.name)} holds {told}, which does not fit {tensor.datatype}")
    return data


def _plain(flat: NDArray[Any], datatype: str) -> Any:
    """As JSON holds it: numbers that are missing become null."""
    if flat.dtype.kind == "O":
        return flat.tolist()
    if flat.dtype.kind == "f" and datatype not in tensors.FLOATS:
        return [None if value != value else int(value) for value in flat.tolist()]
    return flat.astype(np.bool_) if datatype == "BOOL" else flat


def _parted(headers: Mapping[str, str], body: bytes) -> tuple[bytes, memoryview]:
    told = headers.get(_HEADER_LENGTH)
    if told is None:
        return body, memoryview(b"")
    if not told.isdigit() or int(told) > len(body):
        raise NoAnswer("the length of its head is none")
    return body[: int(told)], memoryview(body)[int(told) :]


def _values(outputs: list[_Output], raw: memoryview) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for output in outputs:
        size = (output.parameters or {}).get("binary_data_size")
        if size is None:
            found[output.name] = tensors.values(output)
            continue
        part, raw = raw[: int(size)], raw[int(size) :]
        found[output.name] = rawtensors.decode(output.datatype, part, tensors.count_of(output), output.name)
    return found


def _array(values: Any, shape: list[int], datatype: str) -> NDArray[Any]:
    """Values as an array of their shape; a number that is missing becomes NaN."""
    if datatype == "BYTES":
        texts: NDArray[Any] = np.empty(len(values), dtype=np.object_)
        texts[:] = ["" if value is None else str(value) for value in values]
        return texts.reshape(shape)
    if not isinstance(values, np.ndarray):
        values = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return values.reshape(shape)
