"""Content addresses and the one byte form of a record that is hashed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from lockgate.base.errors import Invalid

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes) -> str:
    """The content address of some bytes: ``sha256:`` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether a text is a content address."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> str:
    """Give back ``text`` if it is a content address, refuse it otherwise."""
    if not is_digest(text):
        raise Invalid(f"{text[:80]!r} is not a digest", hint="a digest is sha256: and 64 hex digits")
    return text


def canonical_json(value: Any) -> bytes:
    """One byte form for equal values: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of_json(value: Any) -> str:
    """The content address of a JSON value."""
    return digest_of(canonical_json(value))
