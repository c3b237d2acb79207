"""What a request says of how it wants to be served: until when its caller waits, and how urgent it is."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.limits import Priority
from lockgate.dataplane.refusal import bad_input, quoted

#: Milliseconds, from the request's first byte on. The second is what Envoy tells those behind it.
_TIMEOUTS = (b"x-lockgate-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
_PRIORITY = b"x-lockgate-priority"
_NAMES = {b"critical": Priority.CRITICAL, b"normal": Priority.NORMAL, b"batch": Priority.BATCH}
_LONGEST = 86_400.0


def told(headers: Mapping[bytes, bytes]) -> tuple[float, Priority]:
    """Seconds that the caller waits (infinity when it does not say) and how urgent its request is.

    Raises:
        Refused: a header that makes no sense.
    """
    seconds = math.inf
    for name in _TIMEOUTS:
        if (text := headers.get(name)) is not None:
            seconds = min(seconds, _milliseconds(text, name) or math.inf)
    word = headers.get(_PRIORITY)
    return seconds, Priority.NORMAL if word is None else _priority(word)


def heed(exchange: Exchange, seconds: float, priority: Priority) -> None:
    """Take in what `told` found."""
    exchange.priority = priority
    deadline = exchange.started + seconds
    if deadline < (math.inf if exchange.deadline is None else exchange.deadline):
        exchange.deadline = deadline


def heed_parameters(exchange: Exchange, parameters: Mapping[str, str | int | float | bool]) -> None:
    """Take an inference request's parameters ``timeout`` (microseconds) and ``priority`` (1 is the highest) in.

    They are Triton's, and 0 leaves either as it was. Of several deadlines the earliest holds.

    Raises:
        Refused: a parameter that makes no sense.
    """
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or timeout < 0:
        raise bad_input(f"the parameter timeout is {quoted(timeout)}", "it is a number of microseconds")
    if timeout:
        deadline = exchange.started + min(timeout / 1e6, _LONGEST)
        exchange.deadline = deadline if exchange.deadline is None else min(exchange.deadline, deadline)
    level = parameters.get("priority", 0)
    if type(level) is not int or level < 0:
        raise bad_input(f"the parameter priority is {quoted(level)}", "it is 1 for the highest, 2, or 3 for the lowest")
    if level:
        exchange.priority = Priority(min(level, 3) - 1)


def _milliseconds(text: bytes, name: bytes) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise bad_input(f"the header {name.decode()} is {quoted(text.decode('latin-1'))}", "send milliseconds")
    return min(found / 1000, _LONGEST)


def _priority(word: bytes) -> Priority:
    found = _NAMES.get(word.lower())
    if found is None:
        raise bad_input(
            f"the header {_PRIORITY.decode()} is {quoted(word.decode('latin-1'))}", "send critical, normal or batch"
        )
    return found
