"""Several looks at one thing, told as one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lockgate.adapters.packages.evidence import CannotTell
from lockgate.base.errors import LockgateError
from lockgate.base.verdict import Verdict, worst
from lockgate.domain.gates.records import GateResult

_MOST_SENTENCES = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one look found."""

    name: str
    verdict: Verdict
    sentence: str
    hint: str = ""
    figures: dict[str, Any] = field(default_factory=dict[str, Any])


#: One look; gives a finding for each thing it looked at, or raises what stops it.
Look = Callable[[], Iterable[Finding]]


def look_at(looks: Sequence[tuple[str, Look]]) -> list[Finding]:
    """Every look's findings; one that cannot tell is a finding itself, and the others go on."""
    found: list[Finding] = []
    for name, look in looks:
        try:
            found.extend(look())
        except LockgateError as error:
            verdict = error.verdict if isinstance(error, CannotTell) else Verdict.UNKNOWN
            told = "; ".join((error.message, *error.problems[:3]))
            found.append(Finding(name=name, verdict=verdict, sentence=told, hint=error.hint))
        except Exception as error:  # odd data may break one look: it does not pass, and the others go on
            told = f"{name}: the look broke: {type(error).__name__}: {str(error)[:200]}"
            found.append(Finding(name=name, verdict=Verdict.UNKNOWN, sentence=told))
    return found


def as_one(gate: str, name: str, found: Sequence[Finding], *, nothing: str) -> GateResult:
    """All findings as one gate's result: the worst verdict, and the sentences that speak for it.

    Args:
        nothing: the sentence when all is well.
    """
    verdict = worst(finding.verdict for finding in found)
    bad = [finding for finding in found if finding.verdict is not Verdict.PASS]
    bad.sort(key=lambda finding: finding.verdict is not Verdict.FAIL)
    told = [finding.sentence for finding in bad[:_MOST_SENTENCES]] or [nothing]
    more = f" (and {len(bad) - _MOST_SENTENCES} more)" if len(bad) > _MOST_SENTENCES else ""
    return GateResult(
        gate=gate,
        name=name,
        verdict=verdict,
        sentence="; ".join(told) + more,
        hint=next((finding.hint for finding in bad if finding.hint), ""),
        figures={
            "checks": [
                {
                    "name": finding.name,
                    "verdict": finding.verdict.value,
                    "sentence": finding.sentence,
                    **finding.figures,
                }
                for finding in found
            ]
        },
    )
