"""A report as people and other programs read it."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.reports.forms import FORMS, MEDIA
from lockgate.adapters.reports.machines import workflow_commands
from lockgate.adapters.reports.told import Told

HOSTILE = "<script>alert(1)</script> | `x` & \x00 \n::error::no"


def result(gate: str, verdict: str, **changes: Any) -> dict[str, Any]:
    return {
        "gate": gate,
        "name": "roc_auc",
        "verdict": verdict,
        "sentence": f"{gate} says {verdict}",
        "hint": "" if verdict == "pass" else f"mend {gate}",
        "figures": {},
        "params": {"metric": "roc_auc", "at_least": 0.9},
        "seconds": 0.25,
        "digest": "sha256:" + "e" * 64,
        **changes,
    }


FIGURES = {
    "value": 0.93,
    "limit": 0.9,
    "low": 0.91,
    "high": 0.95,
    "roc": [[0, 0], [0.1, 0.8], [1, 1]],
    "calibration": [{"predicted": 0.2, "observed": 0.25, "rows": 10}],
    "confusion": {"true_positive": 8, "false_positive": 1, "false_negative": 2, "true_negative": 9},
    "slices": [{"column": "sex", "group": "f", "value": 0.9, "low": 0.8, "high": 0.95, "verdict": "fail", "rows": 50}],
    "predicted_against_true": [[0.1, 0.2], [0.9, -0.1]],
    "candidate": {"value": 0.93},
    "champion": {"value": 0.92},
}


def told(*results: dict[str, Any], **more: Any) -> Told:
    said = [each["verdict"] for each in results]
    report = {
        "id": "report_1",
        "version": "thyroid:3",
        "environment": "prod",
        "package": "sha256:" + "a" * 64,
        "policy_digest": "sha256:" + "b" * 64,
        "champion": None,
        "data": {"holdout": "sha256:" + "d" * 64},
        "results": list(results),
        "verdict": "fail" if "fail" in said else "unknown" if "unknown" in said else "pass",
        "created_at": "2026-05-01T12:00:00Z",
    }
    return Told(report=report, **more)


SOME = told(
    result("quality", "pass", figures=FIGURES),
    result("regression", "fail", figures={"difference": -0.03, "margin": 0.02, "low": -0.04, "high": -0.01}),
    result("latency", "unknown"),
    waivers=["latency is waived by grace until 2026-06-01: the lab moves"],
    lines={"regression": 12},
)


def test_every_form_has_its_media_type() -> None:
    assert set(FORMS) == set(MEDIA)


def test_the_page_holds_everything_itself_with_the_verdict_on_top_and_a_picture_of_each_kind() -> None:
    page = FORMS["html"](SOME)
    assert page.index("1 of 3 gates pass") < page.index("regression says fail") < page.index("quality says pass")
    for caption in ("ROC", "Calibration", "Groups", "Confusion", "Mean prediction and mean truth, by tenth"):
        assert caption in page
    assert page.count("<svg") >= 5
    assert "waived by grace" in page
    assert "sha256:" + "e" * 64 in page
    assert "<script" not in page
    assert "http" not in page


def test_markdown_has_a_row_for_each_gate_with_figure_limit_and_interval() -> None:
    text = FORMS["markdown"](SOME)
    assert "| ✅ | quality roc\\_auc | 0.93 | 0.9 | 0.91 to 0.95 | quality says pass |" in text
    assert "| ❌ | regression roc\\_auc | -0.03 | -0.02 | -0.04 to -0.01 | regression says fail |" in text
    assert "- mend regression" in text
    assert "> ⚠️ latency is waived by grace" in text


def test_junit_counts_a_fail_as_a_failure_and_unknown_as_an_error() -> None:
    suite = ET.fromstring(FORMS["junit"](SOME))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert [case.get("name") for case in suite.iter("testcase")][1] == "regression roc_auc"
    assert next(suite.iter("failure")).get("message") == "regression says fail"


def test_sarif_points_at_the_line_that_asks_for_the_gate() -> None:
    run = json.loads(FORMS["sarif"](SOME))["runs"][0]
    assert [(each["ruleId"], each["level"]) for each in run["results"]] == [
        ("gate/regression", "error"),
        ("gate/latency", "warning"),
    ]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "lockgate.yaml"}, "region": {"startLine": 12}}
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {"gate/regression", "gate/latency"}


def test_an_annotation_is_one_line_at_the_gate_that_did_not_pass() -> None:
    first, second = workflow_commands(SOME)
    assert first == (
        "::error file=lockgate.yaml,line=12,title=gate regression roc_auc%3A fail"
        "::regression says fail. Next: mend regression"
    )
    assert second.startswith("::warning file=lockgate.yaml,line=1,")


@pytest.mark.parametrize("form", FORMS)
def test_what_a_model_says_becomes_neither_markup_nor_a_command(form: str) -> None:
    hostile = told(result("quality", "fail", sentence=HOSTILE, name=HOSTILE, hint=HOSTILE), waivers=[HOSTILE])
    text = FORMS[form](hostile)
    if form in ("json", "sarif"):
        json.loads(text)
    elif form == "junit":
        assert ET.fromstring(text).tag == "testsuites"
    else:
        assert "<script" not in text
    assert all("\n" not in line for line in workflow_commands(hostile))


_junk = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*FIGURES, "difference", "margin", "p99_ms", "limit_ms"]), _junk))
def test_no_figures_break_a_form(figures: dict[str, Any]) -> None:
    for form in FORMS.values():
        assert form(told(result("quality", "fail", figures=figures)))
