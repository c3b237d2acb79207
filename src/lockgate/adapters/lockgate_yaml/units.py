"""Quantities as people write them."""

from __future__ import annotations

import re

from lockgate.base.errors import Invalid

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def seconds(text: str) -> float:
    """``10m`` in seconds; raises Invalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", text)
    if found is None:
        raise Invalid(f"{text!r} is not a duration", hint="write it like 30s, 10m, 2h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def share(text: str) -> float:
    """``5%`` as 0.05; raises Invalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if found is None or float(found[1]) > 100:
        raise Invalid(f"{text!r} is not a share", hint="write it like 5% or 99.9%, 100% at most")
    return round(float(found[1]) / 100, 10)


def size(text: str) -> int:
    """``2GB`` in bytes; raises Invalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(KB|MB|GB)", text)
    if found is None:
        raise Invalid(f"{text!r} is not a size", hint="write it like 512MB or 2GB")
    return round(float(found[1]) * _BYTES[found[2]])
