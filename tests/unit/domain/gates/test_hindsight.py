"""What a policy says of evidence that was made under another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import GateSpec, Policy
from lockgate.domain.gates.hindsight import in_hindsight
from lockgate.domain.gates.records import GateReport, GateResult
from lockgate.domain.registry.records import Risk

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
QUALITY = GateResult(
    gate="quality",
    name="roc_auc",
    verdict=PASS,
    sentence="roc_auc is 0.87",
    params={"metric": "auto", "at_least": 0.8},
    figures={"metric": "roc_auc", "value": 0.87, "low": 0.85, "high": 0.89},
)
REGRESSION = GateResult(
    gate="regression",
    name="roc_auc",
    verdict=PASS,
    sentence="not worse",
    params={"metric": "roc_auc", "margin": 0.02},
    figures={"metric": "roc_auc", "difference": -0.001, "low": -0.008, "high": 0.006, "margin": 0.02},
)
FORMAT = GateResult(gate="format", name="pickle", verdict=PASS, sentence="stored", figures={"serialization": "pickle"})


def said(result: GateResult, kind: str, *, open: bool = False, **params: Any) -> tuple[Verdict, str]:
    policy = Policy(
        environment="prod",
        risk=Risk.HIGH,
        label="y",
        positive=None,
        gates=(GateSpec(kind=kind, params=params, open=open),),
    )
    report = GateReport(
        id="report_1",
        model="m",
        version="m:1",
        environment="prod",
        package="p",
        policy_digest="d",
        data={},
        champion=None,
        results=(result,),
        verdict=result.verdict,
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )
    (found,) = in_hindsight(policy, report, auto="roc_auc")
    return found.verdict, found.sentence


@pytest.mark.parametrize(
    ("result", "kind", "params", "verdict"),
    [
        (QUALITY, "quality", {"metric": "roc_auc", "at_least": 0.8}, PASS),
        (QUALITY, "quality", {"metric": "auto", "at_least": 0.85}, PASS),
        (QUALITY, "quality", {"metric": "roc_auc", "at_least": 0.9}, FAIL),
        (QUALITY, "quality", {"metric": "roc_auc", "at_least": 0.8, "confidence": 0.95}, UNKNOWN),
        (QUALITY, "quality", {"metric": "recall", "at_least": 0.5}, UNKNOWN),
        (QUALITY, "fairness", {}, UNKNOWN),
        (REGRESSION, "regression", {"metric": "auto", "margin": 0.01}, PASS),
        (REGRESSION, "regression", {"metric": "auto", "margin": 0.005}, FAIL),
        (FORMAT, "format", {}, PASS),
        (FORMAT, "format", {"refuse": ["python"]}, PASS),
        (FORMAT, "format", {"refuse": ["pickle"]}, FAIL),
        (replace(QUALITY, verdict=FAIL), "quality", {"metric": "roc_auc", "at_least": 0.1}, FAIL),
    ],
)
def test_stored_figures_are_held_to_another_limit(
    result: GateResult, kind: str, params: dict[str, Any], verdict: Verdict
) -> None:
    found, sentence = said(result, kind, **params)
    assert (found, bool(sentence)) == (verdict, True)


def test_a_figure_that_falls_short_is_told_with_its_limit() -> None:
    assert said(QUALITY, "quality", metric="roc_auc", at_least=0.9)[1] == (
        "quality roc_auc was 0.87 then, and at least 0.9 is demanded"
    )


def test_what_was_never_looked_at_is_unknown_and_no_pass() -> None:
    assert said(QUALITY, "fairness") == (UNKNOWN, "there is no evidence of fairness: nothing asked for it then")


def test_a_demand_left_open_takes_any_evidence_of_its_kind() -> None:
    assert said(replace(QUALITY, params={"metric": "recall"}), "quality", open=True, metric="auto")[0] is PASS


def test_a_report_that_did_not_keep_its_demands_is_judged_by_its_figures() -> None:
    old = replace(REGRESSION, params={})
    assert said(old, "regression", metric="roc_auc", margin=0.02)[0] is PASS
    assert said(old, "regression", metric="roc_auc", margin=0.001)[0] is FAIL
