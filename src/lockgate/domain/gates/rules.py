"""When a version may enter an environment. Each rule looks at values only and answers with a reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lockgate.base.errors import Forbidden, GateRefused, LockgateError, NotAllowedNow, StaleReport
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.approvals import is_bound, requesters, unfilled, valid_signers
from lockgate.domain.gates.config import Policy
from lockgate.domain.gates.environments import Environments
from lockgate.domain.gates.records import Approval, GateReport, Promotion, PromotionState
from lockgate.domain.gates.waivers import Waiver, waived

#: The code of a decision that lets a version through.
ALLOWED = "allowed"
#: The code of a decision that only waits for people.
APPROVAL_NEEDED = "approval_needed"

_ERRORS: dict[str, type[LockgateError]] = {
    known.code: known for known in (Forbidden, GateRefused, NotAllowedNow, StaleReport)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether something may happen, and why."""

    allowed: bool
    #: `ALLOWED`, `APPROVAL_NEEDED` or the code of the error that a refusal becomes.
    code: str
    sentence: str
    hint: str = ""
    #: Ids of the waivers without which it would be another decision.
    waivers: tuple[str, ...] = ()

    def demand(self) -> None:
        """Raise what stands in the way.

        Raises:
            LockgateError: of the decision's code, when it is a refusal; NotAllowedNow while approvals are missing.
        """
        if not self.allowed:
            raise _ERRORS.get(self.code, NotAllowedNow)(self.sentence, hint=self.hint)


def may_request(environment: str, released: Collection[str], environments: Environments) -> Decision:
    """Whether a version may be put forward for ``environment``.

    Args:
        environment: where it should go.
        released: environments in which this very version is or was released.
        environments: those there are.
    """
    if environment not in environments.names:
        return _no(
            "not_allowed_now",
            f"there is no environment {environment!r}",
            f"take one of {', '.join(environments.names)}",
        )
    missing = [name for name in environments.named(environment).after if name not in released]
    if not missing:
        return _yes(f"{environment} is the next environment in the chain")
    before = " and ".join(missing)
    return _no(
        "not_allowed_now",
        f"a version enters {environment} only after {before}, and this one was never released in {before}",
        f"promote it to {missing[0]} first",
    )


def report_stands(
    report: GateReport | None,
    *,
    package: str,
    policy: Policy,
    data: Mapping[str, str],
    champion: str | None,
    waivers: Sequence[Waiver] = (),
    now: datetime | None = None,
) -> Decision:
    """Whether a report speaks for exactly this package, policy, data and champion, and says pass, or is waived where
    it does not at this moment ``now``."""
    if report is None:
        return _no("gate_refused", "no gate has judged this version for this environment", "run the gates first")
    bound = {
        "package": (report.package, package),
        "environment": (report.environment, policy.environment),
        "policy": (report.policy_digest, policy.digest),
        "data": (dict(report.data), dict(data)),
        "champion": (report.champion, champion),
    }
    moved = [name for name, (judged, present) in bound.items() if judged != present]
    if moved:
        what = " and ".join(moved)
        return _no("stale_report", f"the gate report was made for another {what}", "run the gates again")
    if report.verdict is Verdict.PASS:
        return _yes(f"all {len(report.results)} gates pass")
    covered = waived(report, waivers, now) if now else {}
    left = tuple(result for place, result in enumerate(report.results) if place not in covered)
    if covered and all(result.verdict is Verdict.PASS for result in left):
        told = "; ".join(dict.fromkeys(waiver.sentence for waiver in covered.values()))
        used = tuple(dict.fromkeys(waiver.id for waiver in covered.values()))
        return replace(_yes(f"{len(left)} of {len(report.results)} gates pass; {told}"), waivers=used)
    uncovered = replace(report, results=left)
    return _no("gate_refused", _blame(uncovered), _next_step(uncovered))


def may_sign(promotion: Promotion, approval: Approval, *, person: bool) -> Decision:
    """Whether one more signature counts: a person other than the requester, bound to what is promoted."""
    if not person:
        return _no("forbidden", f"{approval.by} is a machine, and only people approve")
    if approval.by in requesters(promotion):
        return _no("forbidden", f"{approval.by} asked for this promotion; somebody else has to approve it")
    if any(known.by == approval.by for known in promotion.approvals):
        return _no("not_allowed_now", f"{approval.by} has approved this already")
    if not is_bound(promotion, approval):
        return _no(
            "stale_report",
            "the approval is for another package, report or policy than the promotion now has",
            "read the newest report, then approve that one",
        )
    return _yes(f"{approval.by} may approve")


def approvals_suffice(
    promotion: Promotion, policy: Policy, *, people: Mapping[str, Collection[str]], now: datetime
) -> Decision:
    """Whether enough people other than the requester signed exactly what is promoted, and not too long ago.

    Args:
        promotion: with its approvals.
        policy: whose signatures it demands.
        people: name -> roles and groups, of those principals behind whom a person stands.
        now: what signatures expire by.
    """
    good = valid_signers(promotion, people, now, timedelta(seconds=policy.signatures_valid))
    missing = unfilled(policy.signatures, good, people)
    if not missing:
        return _yes(f"approved by {', '.join(good)}" if good else "no approval is needed")
    count = sum(demand.people for demand in missing)
    word = "approval" if count == 1 else "approvals"
    plain = all(not (demand.of or demand.among) for demand in missing)
    by = "" if plain else f" ({'; '.join(map(str, missing))})"
    return _no(
        APPROVAL_NEEDED,
        f"{promotion.environment} needs {count} more {word}{by},"
        f" by somebody other than {' and '.join(sorted(requesters(promotion)))}",
        f"ask an approver to look at promotion {promotion.id}",
    )


def may_release(
    promotion: Promotion,
    report: GateReport | None,
    *,
    policy: Policy,
    data: Mapping[str, str],
    champion: str | None,
    released: Collection[str],
    people: Mapping[str, Collection[str]],
    now: datetime,
    environments: Environments,
    waivers: Sequence[Waiver] = (),
) -> Decision:
    """Whether the promotion may become a release now: chain, then evidence, then signatures."""
    evidence = report_stands(
        report, package=promotion.package, policy=policy, data=data, champion=champion, waivers=waivers, now=now
    )
    steps = (
        may_request(promotion.environment, released, environments),
        evidence,
        approvals_suffice(promotion, policy, people=people, now=now),
    )
    decision = next((step for step in steps if not step.allowed), steps[-1])
    if not evidence.waivers or decision is evidence:
        return decision
    return replace(decision, sentence=f"{evidence.sentence}. {decision.sentence}", waivers=evidence.waivers)


def _blame(report: GateReport) -> str:
    for verdict in (Verdict.FAIL, Verdict.UNKNOWN):
        found = [result for result in report.results if result.verdict is verdict]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            word = "fails" if verdict is Verdict.FAIL else "cannot tell"
            return f"gate {found[0].gate} {word}: {found[0].sentence}{more}"
    return "the report holds no verdict at all"


def _next_step(report: GateReport) -> str:
    bad = (result for result in report.results if result.verdict is not Verdict.PASS and result.hint)
    worst_first = sorted(bad, key=lambda result: result.verdict is not Verdict.FAIL)
    return worst_first[0].hint if worst_first else f"look at report {report.id}"


def _yes(sentence: str) -> Decision:
    return Decision(allowed=True, code=ALLOWED, sentence=sentence)


def _no(code: str, sentence: str, hint: str = "") -> Decision:
    return Decision(allowed=False, code=code, sentence=sentence, hint=hint)


def may_force(promotion: Promotion, *, person: bool, review: str | None, rollout: str | None) -> Decision:
    """Whether a person may force a promotion past its gates and signatures.

    Args:
        person: whether it is a person who asks.
        review: the incident in which the last such act on this model still has to be reviewed.
        rollout: the candidate of a rollout that is under way there.
    """
    if not person:
        return _no("forbidden", "only people break the glass", "sign in as a person")
    if promotion.state not in (PromotionState.REFUSED, PromotionState.AWAITING_APPROVAL):
        return _no(
            "not_allowed_now",
            f"{promotion.id} is {promotion.state.value}; only what was refused or waits for signatures can be forced",
            "ask for the promotion again" if promotion.state is PromotionState.REJECTED else "wait for its gates",
        )
    if review is not None:
        return _no(
            "not_allowed_now",
            f"the last promotion of {promotion.model} that was forced has not been reviewed yet",
            f"somebody else resolves {review} first: lockgate incident show {review}",
        )
    if rollout is not None:
        return _no(
            "not_allowed_now",
            f"a rollout of {rollout} is under way there",
            "abort it first, or wait until it is over",
        )
    return _yes("forced")
