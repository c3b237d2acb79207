"""What an environment demands, by risk and by the model's own file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.base.errors import Invalid
from lockgate.domain.gates.config import DataConfig, EnvironmentConfig, GateSpec, ModelConfig
from lockgate.domain.registry.records import Risk
from tests.policies import policy_for

CONFIG = ModelConfig(model="thyroid", owner="endocrine", data=DataConfig(label="finding"))


def kinds(config: ModelConfig, environment: str) -> list[str]:
    return [gate.kind for gate in policy_for(config, environment).gates]


@pytest.mark.parametrize("risk", Risk)
@pytest.mark.parametrize("environment", ["dev", "test", "prod"])
def test_format_parity_and_signature_are_demanded_everywhere(risk: Risk, environment: str) -> None:
    assert {"format", "parity", "signature"} <= set(kinds(replace(CONFIG, risk=risk), environment))


def test_more_risk_demands_more_evidence() -> None:
    low, medium, high = (set(kinds(replace(CONFIG, risk=risk), "prod")) for risk in Risk)
    assert low < medium < high
    assert "regression" in medium - low
    assert "quality" in high - medium


def test_a_file_that_adds_to_what_is_looked_at_is_judged_once_and_whole() -> None:
    declared = GateSpec(kind="data", params={"time": "day"})
    for own in ((declared,), (GateSpec(kind="data"),), ()):
        policy = policy_for(replace(CONFIG, gates=own), "prod")
        found = [gate.params for gate in policy.gates if gate.kind == "data"]
        assert found == [{"time": "day"} if declared in own else {}]


@pytest.mark.parametrize(
    ("risk", "environment", "refused"),
    [
        (Risk.LOW, "dev", None),
        (Risk.LOW, "prod", ["pickle"]),
        (Risk.HIGH, "test", ["pickle"]),
        (Risk.LOW, "test", None),
    ],
)
def test_pickle_is_refused_where_it_matters(risk: Risk, environment: str, refused: list[str] | None) -> None:
    policy = policy_for(replace(CONFIG, risk=risk), environment)
    assert policy.gates[0].params.get("refuse") == refused


def test_prod_never_takes_fewer_approvals_than_one() -> None:
    config = replace(CONFIG, environments={"prod": EnvironmentConfig(name="prod")})
    assert policy_for(config, "prod").approvals == 1
    assert policy_for(config, "test").approvals == 0


def test_the_platforms_own_risk_tier_overrules_the_file() -> None:
    assert policy_for(replace(CONFIG, risk=Risk.LOW), "prod", Risk.HIGH).risk is Risk.HIGH


def test_a_policy_is_another_one_when_anything_it_judges_by_changes() -> None:
    first = policy_for(CONFIG, "prod")
    others = [
        policy_for(CONFIG, "test"),
        policy_for(replace(CONFIG, data=DataConfig(label="other")), "prod"),
        policy_for(replace(CONFIG, data=DataConfig(label="finding", positive="1")), "prod"),
        policy_for(replace(CONFIG, gates=(GateSpec(kind="latency", params={"p99_ms": 20}),)), "prod"),
        policy_for(replace(CONFIG, risk=Risk.HIGH), "prod"),
    ]
    assert first.digest == policy_for(CONFIG, "prod").digest
    assert len({first.digest, *(other.digest for other in others)}) == 6


def test_there_are_three_environments() -> None:
    with pytest.raises(Invalid, match="staging"):
        policy_for(CONFIG, "staging")
