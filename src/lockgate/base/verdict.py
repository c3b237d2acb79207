"""The three verdicts. Unknown is never a pass."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What a gate or a guard says."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fail beats unknown beats pass; nothing at all is unknown."""
    seen = set(verdicts)
    for bad in (Verdict.FAIL, Verdict.UNKNOWN):
        if bad in seen:
            return bad
    return Verdict.PASS if seen else Verdict.UNKNOWN
