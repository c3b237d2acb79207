"""How the body of a request to predict is read, by the protocol its address belongs to."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.dataplane import binary, invocations, oip
from lockgate.dataplane.batching import Encode, Row
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.routing import LiveTarget
from lockgate.dataplane.terms import heed_parameters

#: Raises Refused for what the version cannot take.
Read = Callable[[Exchange, LiveTarget], tuple[Inputs | Row, Encode]]

_JSON_LENGTH = b"inference-header-content-length"


def read_oip(exchange: Exchange, target: LiveTarget) -> tuple[Inputs | Row, Encode]:
    """A request of the Open Inference Protocol in JSON, or in JSON with raw tensors behind it."""
    length = exchange.headers.get(_JSON_LENGTH)
    if length is None and (found := oip.read_block(exchange.body, target.lane)) is not None:
        return found
    if length is None and b'"parameters"' not in exchange.body:
        return oip.read(exchange.body, target.lane)
    inputs, encode, parameters = binary.read(exchange.body, length, target.lane)
    if parameters:
        heed_parameters(exchange, parameters)
    return inputs, encode


def read_invocation(exchange: Exchange, target: LiveTarget) -> tuple[Inputs | Row, Encode]:
    """A request of MLflow's scoring protocol."""
    kind = exchange.headers.get(b"content-type", b"")
    return invocations.read(exchange.body, kind, target.lane.intake), invocations.write


def read_instances(exchange: Exchange, target: LiveTarget) -> tuple[Inputs | Row, Encode]:
    """A request of KServe's first protocol."""
    return invocations.read_instances(exchange.body, target.lane.intake), invocations.write
