"""W3C trace context: which trace a request belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"

_SHAPE = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
#: What others put into ``tracestate`` is handed on up to this length, as the recommendation wants it.
_LONGEST_STATE = 512


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of a caller."""

    #: Hexadecimal.
    trace_id: str
    span_id: str
    sampled: bool


def parsed(header: bytes) -> Parent | None:
    """What a ``traceparent`` says; None when it has to be ignored."""
    found = _SHAPE.fullmatch(header.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    return Parent(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED))


def written(trace_id: str, span_id: str, *, sampled: bool) -> str:
    """A ``traceparent``."""
    return f"00-{trace_id}-{span_id}-0{int(sampled)}"


def state_of(header: bytes | None) -> str:
    """A ``tracestate`` to hand on; empty when there is none, or it is no good."""
    if header is None or len(header) > _LONGEST_STATE or not header.isascii():
        return ""
    text = header.decode().strip()
    return text if text.isprintable() else ""
