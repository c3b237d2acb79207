"""How policy files and a model's own file come together: it can ask for more, never for less."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.domain.gates.approvals import SignatureDemand, unfilled
from lockgate.domain.gates.config import GateSpec, ModelConfig
from lockgate.domain.gates.environments import DEFAULT, Environment
from lockgate.domain.gates.policies import PolicyRule, all_sign, auto_metric, policy_for
from lockgate.domain.registry.records import Risk

PROD = DEFAULT.named("prod")


def gate(kind: str, *, open: bool = False, **params: Any) -> GateSpec:
    return GateSpec(kind=kind, params=params, open=open)


def demanded(own: list[GateSpec], *demands: GateSpec, auto: str = "roc_auc") -> list[GateSpec]:
    config = ModelConfig(model="thyroid", owner="endocrine", gates=tuple(own))
    return list(policy_for(config, "test", rules=[PolicyRule(demands=demands)], auto=auto).gates)


def test_of_one_question_the_stricter_of_each_figure_holds() -> None:
    own = gate("regression", metric="roc_auc", margin=0.05, confidence=0.99, slices=["sex"])
    (merged,) = demanded([own], gate("regression", metric="auto", margin=0.02, confidence=0.95, slices=["age"]))
    assert merged.params == {"metric": "roc_auc", "margin": 0.02, "confidence": 0.99, "slices": ["sex", "age"]}


def test_a_figure_that_is_not_said_is_what_the_gate_takes_then() -> None:
    (merged,) = demanded([gate("regression", metric="roc_auc")], gate("regression", metric="auto", margin=0.02))
    assert merged.params == {"metric": "roc_auc", "margin": 0.0}
    (loose,) = demanded([gate("regression", metric="roc_auc", margin=0.01)], gate("regression", metric="roc_auc"))
    assert loose.params["margin"] == 0.0


def test_another_metric_is_another_question_and_both_stand() -> None:
    both = demanded([gate("quality", metric="recall", at_least=0.8)], gate("quality", metric="auto", at_least=0.9))
    assert [spec.params["metric"] for spec in both] == ["auto", "recall"]


def test_what_a_policy_leaves_open_any_gate_of_its_kind_answers() -> None:
    own = gate("quality", metric="recall", at_least=0.8)
    assert demanded([own], gate("quality", metric="auto", open=True)) == [own]
    (alone,) = demanded([], gate("quality", metric="auto", open=True))
    assert alone.open


def test_a_rule_speaks_of_its_environments_tiers_models_and_owners_only() -> None:
    rule = PolicyRule(environments=("prod",), risks=(Risk.HIGH,), models=("icu-*",), owners=("cardio",))
    assert rule.fits(PROD, Risk.HIGH, "icu-sepsis", "cardio")
    assert rule.fits(Environment(name="ward-3", like="prod"), Risk.HIGH, "icu-sepsis", "cardio")
    for changed in (
        (DEFAULT.named("test"), Risk.HIGH, "icu-sepsis", "cardio"),
        (PROD, Risk.LOW, "icu-sepsis", "cardio"),
        (PROD, Risk.HIGH, "sepsis", "cardio"),
        (PROD, Risk.HIGH, "icu-sepsis", "radiology"),
    ):
        assert not rule.fits(*changed)


_share = st.floats(0, 1).map(lambda value: round(value, 2))
_metric = st.sampled_from(["auto", "roc_auc", "recall"])


def _asked(kind: str, figure: str) -> st.SearchStrategy[GateSpec]:
    def made(metric: str, value: float | None) -> GateSpec:
        return GateSpec(kind=kind, params={"metric": metric} | ({} if value is None else {figure: value}))

    return st.builds(made, _metric, st.none() | _share)


_quality, _regression = _asked("quality", "at_least"), _asked("regression", "margin")
_gates = st.lists(_quality | _regression, max_size=4)
_facts = st.fixed_dictionaries({"roc_auc": _share, "recall": _share})


def passes(spec: GateSpec, values: dict[str, float], losses: dict[str, float]) -> bool:
    """What a gate says of a model with these figures."""
    metric = "roc_auc" if spec.params["metric"] == "auto" else spec.params["metric"]
    if spec.kind == "quality":
        return values[metric] >= spec.params.get("at_least", 0.0)
    return losses[metric] <= spec.params.get("margin", 0.0)


@given(_gates, _gates, _facts, _facts)
def test_whatever_passes_the_merged_policy_passes_every_demand_and_every_own_gate_and_nothing_else_does(
    own: list[GateSpec], demands: list[GateSpec], values: dict[str, float], losses: dict[str, float]
) -> None:
    both = demanded(own, *demands)
    assert len(both) <= len(own) + len(demands)
    allowed = all(passes(spec, values, losses) for spec in both)
    assert allowed == all(passes(spec, values, losses) for spec in (*own, *demands))


@given(_gates, _gates)
def test_the_order_of_the_rules_does_not_matter(own: list[GateSpec], demands: list[GateSpec]) -> None:
    def key(spec: GateSpec) -> str:
        resolved = spec.params | {"metric": spec.params["metric"].replace("auto", "roc_auc")}
        return repr((spec.kind, sorted(resolved.items())))

    forward, backward = demanded(own, *demands), demanded(own, *reversed(demands))
    assert sorted(map(key, forward)) == sorted(map(key, backward))


_people = {"ada": ("clinician",), "ben": ("risk",), "cyd": ("clinician", "risk"), "dan": ()}
_demand = st.builds(SignatureDemand, people=st.integers(1, 2), of=st.sampled_from(["", "clinician", "risk"]))


@given(st.lists(st.lists(_demand, max_size=2), max_size=3))
def test_who_satisfies_the_merged_demand_for_signatures_satisfies_each(asked: list[list[SignatureDemand]]) -> None:
    merged = all_sign(asked)
    for present in product([False, True], repeat=len(_people)):
        signers = [name for name, here in zip(_people, present, strict=True) if here]
        if not unfilled(merged, signers, _people):
            assert all(not unfilled(demands, signers, _people) for demands in asked)


def test_signatures_of_rules_and_of_the_file_are_all_asked_for() -> None:
    rule = PolicyRule(signatures=(SignatureDemand(of="risk"),), signatures_valid=60.0)
    policy = policy_for(ModelConfig(model="thyroid", owner="endocrine"), "prod", rules=[rule])
    assert policy.signatures == (SignatureDemand(of="risk"),)
    assert policy.signatures_valid == 60.0


@pytest.mark.parametrize(
    ("task", "positive", "metric"),
    [
        ("classification", "1", "roc_auc"),
        ("classification", None, "accuracy"),
        ("regression", None, "r2"),
        ("other", None, ""),
    ],
)
def test_the_metric_that_suits_a_task(task: str, positive: str | None, metric: str) -> None:
    assert auto_metric(task, positive) == metric
