"""Server-sent events of OpenAI-compatible servers: cut whole out of a stream, and looked at for what they cost."""

from __future__ import annotations

import re
from typing import Any

import orjson

_END = re.compile(rb"\r?\n\r?\n")
#: An event longer than this is passed on as it comes.
_LONGEST = 1 << 20


class Events:
    """Cuts a stream into whole events, each with the blank line behind it."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that are complete now."""
        data = self._left + data
        found: list[bytes] = []
        at = 0
        for end in _END.finditer(data):
            found.append(data[at : end.end()])
            at = end.end()
        self._left = data[at:]
        if len(self._left) > _LONGEST:
            found.append(self.rest())
        return found

    def rest(self) -> bytes:
        """What came behind the last whole event."""
        left, self._left = self._left, b""
        return left


def usage_of(event: bytes) -> tuple[dict[str, int], bool]:
    """The tokens an event tells of, by kind, and whether it tells of nothing else."""
    if b'"usage"' not in event or not event.startswith(b"data:"):
        return {}, False
    try:
        found: Any = orjson.loads(event[5:].strip())
    except orjson.JSONDecodeError:
        return {}, False
    return tokens_of(found), isinstance(found, dict) and found.get("choices") == []


def tokens_of(answer: Any) -> dict[str, int]:
    """The tokens that a whole answer, or a piece of one, says were used; empty where it does not."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return {}
    kinds = {"prompt": usage.get("prompt_tokens"), "completion": usage.get("completion_tokens")}
    return {kind: count for kind, count in kinds.items() if type(count) is int and count > 0}
