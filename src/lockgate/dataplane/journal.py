"""What a gateway says of itself: one JSON line an event, on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

#: Fields of every line.
_own: dict[str, str] = {}


def speak_as(worker: str) -> None:
    """Put this worker's name into every line."""
    _own["worker"] = worker


def say(event: str, **fields: Any) -> None:
    """Write an event down; ``event`` is a sentence, the fields are what it is about."""
    line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **_own, **fields}
    # On a full disk nothing can be written down, and that must not end what goes on.
    with contextlib.suppress(OSError):
        sys.stderr.write(json.dumps(line, default=str) + "\n")
        sys.stderr.flush()
