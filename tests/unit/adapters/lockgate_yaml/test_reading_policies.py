"""Reading policy files, sound and broken."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.lockgate_yaml.policies import default_policy, read_policy
from lockgate.adapters.lockgate_yaml.published import demand_kinds, gate_kinds
from lockgate.base.errors import Invalid, TooLarge
from lockgate.domain.gates.approvals import SignatureDemand
from lockgate.domain.gates.config import GateSpec
from lockgate.domain.registry.records import Risk

TEXT = """\
policy: clinical
description: What the clinic asks.
rules:
  - in: [test, prod]
    risk: [high]
    models: ["icu-*"]
    owners: [cardio]
    demand:
      - quality: {metric: auto}
      - quality: {metric: recall, at_least: 0.9}
      - latency: {}
      - format: {refuse: [pickle]}
  - in: [prod]
    approvals: [{people: 2, of: clinicians}]
    approvals_valid: 2d
"""


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        read_policy(text)
    assert caught.value.hint
    return caught.value.problems


def test_a_whole_policy_is_read() -> None:
    policy = read_policy(TEXT)
    assert (policy.name, policy.description, policy.text) == ("clinical", "What the clinic asks.", TEXT)
    first, second = policy.rules
    assert (first.environments, first.risks) == (("test", "prod"), (Risk.HIGH,))
    assert (first.models, first.owners) == (("icu-*",), ("cardio",))
    assert first.demands == (
        GateSpec(kind="quality", params={"metric": "auto"}, open=True),
        GateSpec(kind="quality", params={"metric": "recall", "at_least": 0.9}),
        GateSpec(kind="latency", open=True),
        GateSpec(kind="format", params={"refuse": ["pickle"]}),
    )
    assert second.signatures == (SignatureDemand(people=2, of="clinicians"),)
    assert second.signatures_valid == 2 * 86_400


def test_the_platforms_own_policy_is_a_file_like_any_other() -> None:
    policy = default_policy()
    assert policy.name == "default"
    assert read_policy(policy.text) == policy


def test_a_policy_can_demand_every_kind_that_a_model_can_name_and_three_more() -> None:
    assert set(gate_kinds()) | {"format", "parity", "signature"} == set(demand_kinds())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("policy: x\nrules:\n  - demand: [{qualty: {metric: auto}}]\n", "did you mean 'quality'"),
        ("policy: x\nrules:\n  - demand: [{quality: {metric: roc_uac}}]\n", "there is no metric 'roc_uac'"),
        ("policy: x\nrules:\n  - demand: [{quality: {metric: rmse, at_least: 1}}]\n", "write at_most"),
        (
            "policy: x\nrules:\n  - demand: [{slices: {metric: auto, by: [sex], at_least: 0.9, at_most: 0.8}}]\n",
            "nothing is at least 0.9 and at most 0.8",
        ),
        ("policy: x\nrules:\n  - in: [The Moon]\n    approvals: 1\n", "'The Moon' does not fit"),
        ("policy: x\nrules:\n  - in: [prod]\n", "needs demand or approvals"),
        ("policy: X!\nrules: []\n", "is an empty list"),
        ("rules:\n  - approvals: 1\n", "policy is missing"),
        ("policy: x\nrules:\n  - risk: [extreme]\n    approvals: 1\n", "'extreme' is not one of low, medium, high"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_line(text: str, told: str) -> None:
    problems = problems_of(text)
    assert any(told in problem and problem.startswith("line ") for problem in problems), problems


def test_all_problems_are_told_at_once() -> None:
    text = "policy: x\nrules:\n  - in: [The Moon]\n    demand: [{qualty: {}}]\n  - risk: [extreme]\n    approvals: -1\n"
    assert len(problems_of(text)) >= 4


def test_what_is_no_yaml_is_told_as_a_policy() -> None:
    with pytest.raises(Invalid, match="the policy cannot be read"):
        read_policy("policy: [")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(Invalid, TooLarge):
        read_policy(text)
