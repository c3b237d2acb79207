"""From a batch that was answered to the events of its requests: the same bodies as on the wire, without what is
personal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from lockgate.dataplane.events.settings import EventSettings
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, cut
from lockgate.dataplane.oip import output_of
from lockgate.dataplane.routing import LiveTarget

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Taken:
    """Requests that one call answered, by reference."""

    target: LiveTarget
    role: str
    prediction_ids: list[str]
    #: Rows of each.
    counts: list[int]
    inputs: Inputs
    answer: Answer
    time_us: int
    #: About how many bytes it holds on to.
    size: int


@dataclass(frozen=True, slots=True)
class Event:
    """One message, ready to be posted."""

    headers: dict[str, str]
    body: bytes


def events(taken: Taken, settings: EventSettings) -> Iterator[Event]:
    """A request and its response have the same id: the prediction's."""
    attributes = _attributes(taken)
    at = 0
    for id, rows in zip(taken.prediction_ids, taken.counts, strict=True):
        if settings.requests:
            asked = _request(taken.target, id, cut(taken.inputs, at, at + rows), rows)
            yield _event(attributes | {"id": id, "type": REQUEST}, asked, settings.structured)
        if settings.responses:
            given = _response(taken.target, id, taken.answer.cut(at, at + rows))
            yield _event(attributes | {"id": id, "type": RESPONSE}, given, settings.structured)
        at += rows


def _attributes(taken: Taken) -> dict[str, Any]:
    target = taken.target
    model, _, environment = target.endpoint.rpartition(".")
    return {
        "specversion": "1.0",
        "source": f"urn:lockgate:{target.endpoint}",
        "time": (_EPOCH + timedelta(microseconds=taken.time_us)).isoformat().replace("+00:00", "Z"),
        "inferenceservicename": model,
        "namespace": environment,
        "component": "predictor",
        "endpoint": target.endpoint,
        "lockgateversion": target.version,
        "lockgategeneration": target.generation,
        "lockgaterole": taken.role,
    }


def _event(attributes: dict[str, Any], data: bytes, structured: bool) -> Event:
    if structured:
        whole = orjson.dumps(attributes | {"datacontenttype": "application/json", "data": orjson.Fragment(data)})
        return Event({"content-type": "application/cloudevents+json"}, whole)
    headers = {f"ce-{name}": str(value) for name, value in attributes.items()}
    return Event(headers | {"content-type": "application/json"}, data)


def _request(target: LiveTarget, id: str, inputs: Inputs, rows: int) -> bytes:
    intake = target.lane.intake
    watched = intake.watched(inputs)
    tensors = [
        {
            "name": column.name,
            "shape": [rows, *column.shape],
            "datatype": column.datatype,
            "data": watched[column.name].ravel().tolist(),
        }
        for column in intake.columns
        if not column.personal
    ]
    body: dict[str, Any] = {"id": id, "inputs": tensors}
    withheld = [column.name for column in intake.columns if column.personal]
    if withheld:
        # The protocol allows no lists here.
        body["parameters"] = {"withheld": ",".join(withheld)}
    return orjson.dumps(body)


def _response(target: LiveTarget, id: str, answer: Answer) -> bytes:
    outputs = b",".join(output_of(served, answer) for served in target.lane.served)
    return orjson.dumps(
        {
            "model_name": target.endpoint,
            "model_version": str(target.target.number),
            "id": id,
            "parameters": {"prediction_id": id, "generation": target.generation},
            "outputs": orjson.Fragment(b"[%b]" % outputs),
        }
    )
