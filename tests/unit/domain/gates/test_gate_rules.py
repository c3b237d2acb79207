"""When a version may enter an environment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lockgate.base.errors import Forbidden, GateRefused, NotAllowedNow, StaleReport
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.approvals import SignatureDemand
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.gates.environments import DEFAULT
from lockgate.domain.gates.records import Approval, GateReport, GateResult, Promotion, PromotionState
from lockgate.domain.gates.rules import approvals_suffice, may_release, may_request, may_sign, report_stands
from tests.policies import policy_for

NOW = datetime(2026, 5, 1, tzinfo=UTC)
POLICY = policy_for(ModelConfig(model="thyroid", owner="endocrine"), "prod")
DATA = {"holdout": "sha256:" + "d" * 64}
PACKAGE, CHAMPION = "sha256:" + "a" * 64, "sha256:" + "c" * 64


def result(verdict: Verdict, gate: str = "quality", hint: str = "") -> GateResult:
    return GateResult(gate=gate, name="", verdict=verdict, sentence=f"{gate} says {verdict}", hint=hint)


REPORT = GateReport(
    id="report_1",
    model="thyroid",
    version="thyroid:2",
    environment="prod",
    package=PACKAGE,
    policy_digest=POLICY.digest,
    data=DATA,
    champion=CHAMPION,
    results=(result(Verdict.PASS),),
    verdict=Verdict.PASS,
    created_at=NOW,
)
APPROVAL = Approval(
    by="ana", at=NOW, reason="looks good", package=PACKAGE, report=REPORT.id, policy_digest=POLICY.digest
)
PROMOTION = Promotion(
    id="promo_1",
    model="thyroid",
    version="thyroid:2",
    environment="prod",
    package=PACKAGE,
    policy_digest=POLICY.digest,
    state=PromotionState.AWAITING_APPROVAL,
    report=REPORT.id,
    approvals=(APPROVAL,),
    reason="better",
    requested_by="dev",
    created_at=NOW,
)


def stands(report: GateReport | None = REPORT, **changed: Any) -> Any:
    known: dict[str, Any] = {"package": PACKAGE, "policy": POLICY, "data": DATA, "champion": CHAMPION}
    return report_stands(report, **(known | changed))


def release(**changed: Any) -> Any:
    known: dict[str, Any] = {
        "policy": POLICY,
        "data": DATA,
        "champion": CHAMPION,
        "released": ("dev", "test"),
        "people": {"ana": ("approver",), "dev": ("developer",)},
        "now": NOW,
        "environments": DEFAULT,
    }
    promotion = changed.pop("promotion", PROMOTION)
    return may_release(promotion, changed.pop("report", REPORT), **(known | changed))


@pytest.mark.parametrize(
    ("environment", "released", "allowed"),
    [
        ("dev", (), True),
        ("test", (), False),
        ("test", ("dev",), True),
        ("prod", ("dev",), False),
        ("prod", ("test",), True),
    ],
)
def test_environments_are_entered_one_after_the_other(
    environment: str, released: tuple[str, ...], allowed: bool
) -> None:
    decision = may_request(environment, released, DEFAULT)
    assert decision.allowed is allowed
    if not allowed:
        with pytest.raises(NotAllowedNow, match="only after"):
            decision.demand()


def test_an_environment_that_does_not_exist_is_refused() -> None:
    assert not may_request("moon", ("dev",), DEFAULT).allowed


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"package": "sha256:" + "b" * 64}, "package"),
        ({"policy": policy_for(ModelConfig(model="thyroid", owner="endocrine"), "test")}, "environment and policy"),
        ({"data": {}}, "data"),
        ({"champion": None}, "champion"),
    ],
)
def test_a_report_speaks_for_nothing_but_what_it_was_made_for(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(StaleReport, match=f"another {named}"):
        stands(**changed).demand()


def test_without_a_report_nothing_moves() -> None:
    with pytest.raises(GateRefused, match="no gate has judged"):
        stands(None).demand()


def test_unknown_is_never_a_pass() -> None:
    report = replace(REPORT, results=(result(Verdict.UNKNOWN, hint="label more rows"),), verdict=Verdict.UNKNOWN)
    decision = stands(report)
    assert not decision.allowed
    assert decision.sentence == "gate quality cannot tell: quality says unknown"
    assert decision.hint == "label more rows"


def test_a_refusal_names_the_failed_gate_before_the_unknown_one() -> None:
    results = (
        result(Verdict.UNKNOWN, "latency", "wait"),
        result(Verdict.FAIL, "parity", "convert"),
        result(Verdict.FAIL),
    )
    decision = stands(replace(REPORT, results=results, verdict=Verdict.FAIL))
    assert decision.sentence == "gate parity fails: parity says fail (and 1 more)"
    assert decision.hint == "convert"


def test_a_report_without_any_verdict_does_not_pass() -> None:
    assert not stands(replace(REPORT, results=(), verdict=Verdict.UNKNOWN)).allowed


def test_evidence_and_another_persons_approval_release_a_version() -> None:
    decision = release()
    assert decision.allowed
    assert decision.sentence == "approved by ana"
    decision.demand()


@pytest.mark.parametrize(
    "approvals",
    [
        (),
        (replace(APPROVAL, by="dev"),),
        (replace(APPROVAL, by="robot"),),
        (replace(APPROVAL, package="sha256:" + "b" * 64),),
        (replace(APPROVAL, report="report_0"),),
        (replace(APPROVAL, policy_digest="sha256:" + "e" * 64),),
    ],
    ids=["nobody", "the requester", "a machine", "another package", "an older report", "another policy"],
)
def test_what_is_not_another_persons_approval_of_exactly_this_does_not_count(approvals: tuple[Approval, ...]) -> None:
    decision = release(promotion=replace(PROMOTION, approvals=approvals))
    assert not decision.allowed
    assert decision.code == "approval_needed"
    assert "1 more approval" in decision.sentence


def test_one_person_counts_once() -> None:
    twice = replace(PROMOTION, approvals=(APPROVAL, replace(APPROVAL, reason="again")))
    policy = replace(POLICY, signatures=(SignatureDemand(people=2),))
    assert "1 more approval," in approvals_suffice(twice, policy, people={"ana": ()}, now=NOW).sentence
    assert "2 more approvals," in approvals_suffice(twice, policy, people={}, now=NOW).sentence


def test_the_chain_is_looked_at_before_the_evidence_and_the_evidence_before_the_approvals() -> None:
    nobody = replace(PROMOTION, approvals=())
    assert release(promotion=nobody, report=None, released=()).code == "not_allowed_now"
    assert release(promotion=nobody, report=None).code == "gate_refused"
    assert release(promotion=nobody).code == "approval_needed"


def test_where_no_approval_is_needed_none_is_waited_for() -> None:
    policy = replace(POLICY, signatures=())
    assert approvals_suffice(replace(PROMOTION, approvals=()), policy, people={}, now=NOW).allowed


@pytest.mark.parametrize(
    ("approval", "person", "error"),
    [
        (replace(APPROVAL, by="ben"), True, None),
        (replace(APPROVAL, by="ben"), False, Forbidden),
        (replace(APPROVAL, by="dev"), True, Forbidden),
        (APPROVAL, True, NotAllowedNow),
        (replace(APPROVAL, by="ben", report="report_0"), True, StaleReport),
    ],
    ids=["another person", "a machine", "the requester", "a second time", "an older report"],
)
def test_who_may_sign(approval: Approval, person: bool, error: type[Exception] | None) -> None:
    decision = may_sign(PROMOTION, approval, person=person)
    assert decision.allowed is (error is None)
    if error is not None:
        with pytest.raises(error):
            decision.demand()
