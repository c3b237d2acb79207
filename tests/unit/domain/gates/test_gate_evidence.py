"""What binds evidence to what it was found on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.sql.codec import decode, encode
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.evidence import bound, holds
from lockgate.domain.gates.records import GateReport, GateResult

INPUTS: dict[str, Any] = {
    "package": "sha256:" + "a" * 64,
    "champion": None,
    "data": {"holdout": "sha256:" + "d" * 64},
    "policy": "sha256:" + "e" * 64,
}
RESULT = GateResult(gate="quality", name="roc_auc", verdict=Verdict.PASS, sentence="good", figures={"value": 0.9})

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def report(*results: GateResult) -> GateReport:
    return GateReport(
        id="report_1",
        model="thyroid",
        version="thyroid:1",
        environment="prod",
        package=INPUTS["package"],
        policy_digest=INPUTS["policy"],
        data=INPUTS["data"],
        champion=INPUTS["champion"],
        results=bound(results, **INPUTS),
        verdict=Verdict.PASS,
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )


@given(st.dictionaries(st.text(max_size=5), _values, max_size=4))
def test_evidence_still_has_its_address_when_it_is_read_back(figures: dict[str, Any]) -> None:
    kept = report(replace(RESULT, figures=figures))
    assert holds(decode(GateReport, encode(kept)))


@pytest.mark.parametrize(
    "changed",
    [
        {"package": "sha256:" + "b" * 64},
        {"champion": "sha256:" + "c" * 64},
        {"data": {}},
        {"policy": "sha256:" + "f" * 64},
    ],
)
def test_evidence_on_anything_else_has_another_address(changed: dict[str, Any]) -> None:
    (first,), (second,) = bound([RESULT], **INPUTS), bound([RESULT], **(INPUTS | changed))
    assert first.digest != second.digest


def test_evidence_that_was_touched_does_not_hold() -> None:
    made = report(RESULT)
    (result,) = made.results
    assert holds(made)
    assert not holds(replace(made, results=(replace(result, figures={"value": 0.99}),)))
    assert not holds(replace(made, results=(replace(result, digest=""),)))


def test_figures_that_json_has_no_word_for_are_kept_as_what_they_will_be() -> None:
    (result,) = bound(
        [replace(RESULT, figures={"value": np.float64(0.5), 3: float("nan"), "n": np.int64(7)})], **INPUTS
    )
    assert result.figures == {"value": 0.5, "3": None, "n": 7}
