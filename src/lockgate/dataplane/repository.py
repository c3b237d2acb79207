"""The model repository as the Open Inference Protocol sees it: the routes decide what is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from lockgate.dataplane.lane import Lane
from lockgate.dataplane.refusal import Refused, bad_input
from lockgate.dataplane.routing import LiveTable

_NOT_LOADED = "its package cannot be loaded here"


class IndexRequest(msgspec.Struct):
    """The body of a request for the index."""

    ready: bool = False


_decoder = msgspec.json.Decoder(IndexRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One version on one endpoint."""

    name: str
    version: str
    #: READY or UNAVAILABLE.
    state: str
    reason: str


def index(live: LiveTable, trouble: Callable[[Lane], str]) -> list[Entry]:
    """Everything that is routed; ``trouble`` says why a lane is not to be relied on, or nothing."""
    found: list[Entry] = []
    for endpoint in live.endpoints.values():
        for number, version in sorted((target.number, target.version) for target in endpoint.route.targets):
            target = endpoint.targets.get(version)
            reason = _NOT_LOADED if target is None else trouble(target.lane)
            state = "UNAVAILABLE" if reason else "READY"
            found.append(Entry(name=endpoint.name, version=str(number), state=state, reason=reason))
    return found


def asks_for_ready(body: bytes) -> bool:
    """Whether a request for the index wants only what is ready; raises Refused for a body that makes no sense."""
    if not body:
        return False
    try:
        return _decoder.decode(body).ready
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"this is no request for an index: {error}", 'send {"ready": true}, or nothing') from error


def no_unload(name: str) -> Refused:
    """Why an endpoint's model cannot be unloaded by asking its gateway."""
    return Refused(
        409,
        "not_allowed_now",
        f"{name} is routed, and routes decide what is loaded",
        hint="change the endpoint through the control plane",
    )
