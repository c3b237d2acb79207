"""Waivers: a named person answers, for a time, for a gate that did not pass.

A waiver changes no verdict. What failed goes on saying fail; the decision says who waived it, why and until when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateReport, GateResult

#: None lasts longer: what is waived for good is a policy, and belongs into one.
LONGEST = timedelta(days=90)


class WaiverState(StrEnum):
    """Where a waiver stands. Only an approved one counts, until it expires."""

    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiver:
    """Somebody's word that a gate may be passed by without its pass."""

    id: str
    revision: int = 0
    model: str
    environment: str
    #: Kind of the gate, and which one of the kind; an empty name means every one.
    gate: str
    name: str = ""
    #: The only version it is for; None means any of the model.
    version: str | None = None
    reason: str
    requested_by: str
    #: The person behind a machine that asked.
    behind: str = ""
    state: WaiverState = WaiverState.REQUESTED
    #: Who approved, rejected or revoked it, and why.
    decided_by: str = ""
    decision: str = ""
    decided_at: datetime | None = None
    created_at: datetime
    expires_at: datetime

    def covers(self, result: GateResult, report: GateReport, now: datetime) -> bool:
        """Whether it stands for this result, of this report, at this moment."""
        return (
            self.state is WaiverState.APPROVED
            and now < self.expires_at
            and (self.model, self.environment, self.gate) == (report.model, report.environment, result.gate)
            and self.name in ("", result.name)
            and self.version in (None, report.version)
        )

    @property
    def sentence(self) -> str:
        """Who answers for it, why and until when."""
        gate = f"{self.gate} {self.name}".strip()
        until = self.expires_at.strftime("%Y-%m-%d %H:%M UTC")
        return f"{gate} is waived by {self.decided_by} until {until}, asked for by {self.requested_by}: {self.reason}"


def waiver_problems(waiver: Waiver, now: datetime, *, kinds: Sequence[str] = ()) -> list[str]:
    """All that is wrong with a request, each in a sentence; none when it may be kept."""
    problems: list[str] = []
    if kinds and waiver.gate not in kinds:
        problems.append(f"gate: there is no gate of kind {waiver.gate[:80]!r}; there are {', '.join(kinds)}")
    if not waiver.reason.strip():
        problems.append("reason: say why it may be passed by")
    if waiver.expires_at <= now:
        problems.append(f"expires_at: {waiver.expires_at:%Y-%m-%d %H:%M} is over already; name a time to come")
    if waiver.expires_at > now + LONGEST:
        problems.append(f"expires_at: {LONGEST.days} days from now is the most; what is waived for good is a policy")
    return problems


def check_waiver(waiver: Waiver, now: datetime, *, kinds: Sequence[str] = ()) -> None:
    """Refuse a request that cannot be kept; raises Invalid with all that is wrong."""
    problems = waiver_problems(waiver, now, kinds=kinds)
    if problems:
        raise Invalid("this waiver cannot be asked for", problems=problems, hint="; ".join(problems))


def waived(report: GateReport, waivers: Sequence[Waiver], now: datetime) -> dict[int, Waiver]:
    """Which results of a report, by their place, did not pass and are stood for by which waiver."""
    return {
        place: next(waiver for waiver in waivers if waiver.covers(result, report, now))
        for place, result in enumerate(report.results)
        if result.verdict is not Verdict.PASS and any(waiver.covers(result, report, now) for waiver in waivers)
    }
