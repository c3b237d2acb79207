"""Reading the file beside a model's code, sound and broken."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lockgate.adapters.lockgate_yaml.published import gate_kinds, schema
from lockgate.adapters.lockgate_yaml.read import read
from lockgate.base.errors import Invalid, TooLarge
from lockgate.domain.gates.config import GateSpec
from lockgate.domain.gates.environments import DEFAULT
from lockgate.domain.registry.records import Risk
from lockgate.domain.registry.serving import Batching, RunnerLimits, Serving, Upstream
from lockgate.domain.rollout.records import Step, StepKind

WHOLE = """\
model: thyroid-screening
owner: endocrine-team
risk: high
data:
  holdout: data/holdout.parquet
  training: data/training.parquet
  label: diagnosis
  positive: 1
  subject: patient_id
  personal: [patient_id, age, sex]
gates:
  - quality: {metric: roc_auc, at_least: 0.90}
  - regression: {metric: roc_auc, margin: 0.01, confidence: 0.95, slices: [sex, referral_source]}
  - latency: {p99_ms: 20, at_rps: 50}
    in: [test, prod]
environments:
  test: {}
  prod: {approvals: 2, rollout: [{shadow: 10m, of: 50%}, {traffic: 5%, for: 30s}, {traffic: 0.5h, for: 1h}]}
watch:
  drift: {least_rows: 500, least_share: 1%, window: 2h}
  quality: {metric: roc_auc, at_least: 0.88, labels_within: 7d}
slo:
  availability: 99.9%
  latency: {under_ms: 50, for: 99%}
""".replace("traffic: 0.5h", "traffic: 50.5%")
SMALL = "model: thyroid\nowner: endocrine\n"


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        read(text)
    return caught.value.problems


def test_a_whole_file_is_read() -> None:
    config = read(WHOLE)
    assert (config.model, config.owner, config.risk) == ("thyroid-screening", "endocrine-team", Risk.HIGH)
    assert config.data.files == {"holdout": "data/holdout.parquet", "training": "data/training.parquet"}
    assert (config.data.label, config.data.positive, config.data.subject) == ("diagnosis", "1", "patient_id")
    assert config.gates[2] == GateSpec(
        kind="latency", params={"p99_ms": 20, "at_rps": 50}, environments=("test", "prod")
    )
    prod = config.entering(DEFAULT.named("prod"))
    assert prod.approvals == 2
    assert prod.strategy.steps == (
        Step(kind=StepKind.SHADOW, weight=5_000, seconds=600),
        Step(kind=StepKind.TRAFFIC, weight=500, seconds=30),
        Step(kind=StepKind.TRAFFIC, weight=5_050, seconds=3600),
    )
    assert config.watch.quality is not None
    assert config.watch.quality.labels_within == 7 * 86_400
    assert (config.watch.drift.least_rows, config.watch.drift.least_share) == (500, 0.01)
    assert (config.slo.availability, config.slo.latency_share) == (0.999, 0.99)


def test_two_lines_are_enough() -> None:
    config = read(SMALL)
    assert config.risk is Risk.MEDIUM
    assert config.entering(DEFAULT.named("dev")).strategy.steps == ()
    assert [step.kind for step in config.entering(DEFAULT.named("prod")).strategy.steps] == [
        "shadow",
        "traffic",
        "traffic",
    ]
    assert config.entering(DEFAULT.named("prod")).approvals == 1


def test_a_guard_keeps_what_the_file_does_not_say() -> None:
    guard = read(f"{SMALL}environments: {{prod: {{guard: {{hold: 90s, error_margin: 2%}}}}}}\n").entering(
        DEFAULT.named("prod")
    )
    assert guard.strategy.guard.hold_seconds == 90
    assert guard.strategy.guard.error_margin == 0.02
    assert guard.strategy.guard.least_samples == 200
    assert len(guard.strategy.steps) == 3


def test_drift_can_be_switched_off() -> None:
    assert not read(f"{SMALL}watch: {{drift: false}}\n").watch.drift.on


def test_all_problems_are_told_at_once_with_their_lines() -> None:
    text = """\
model: Thyroid Screening
ownr: endocrine-team
risk: hi
gates:
  - quality: {metrc: roc_auc, at_least: high}
  - latency: {p99_ms: 20}
    in: [prod]
environments:
  tst: {}
  prod: {rollout: [{shadow: 10 minutes}]}
"""
    assert problems_of(text) == (
        "line 1: owner is missing",
        "line 1: model: 'Thyroid Screening' does not fit: Name of the model: small letters, digits and dashes,"
        " 63 at most",
        "line 2: ownr: there is no such key — did you mean 'owner'?",
        "line 3: risk: 'hi' is not one of low, medium, high — did you mean 'high'?",
        "line 5: gates[0].quality: metric is missing",
        "line 5: gates[0].quality.at_least: should be a number, and is 'high'",
        "line 5: gates[0].quality.metrc: there is no such key — did you mean 'metric'?",
        "line 10: environments.prod.rollout[0].shadow: '10 minutes' does not fit: A number and its unit:"
        " 30s, 10m, 2h, 7d",
    )


@pytest.mark.parametrize(
    ("addition", "problem"),
    [
        ("gates: [{quality: {metric: auc, at_least: 1}}]", "gates[0].quality.metric: there is no metric 'auc'"),
        ("gates: [{quality: {metric: rmse, at_least: 1}}]", "rmse is better when lower: write at_most"),
        ("gates: [{quality: {metric: f1}}]", "holdout is missing, and gate quality needs it"),
        ("gates: [{latency: {p99_ms: 1}, quality: {metric: f1}}]", "names latency, quality at once"),
        ("gates: [{in: [dev]}]", "gates[0]: needs " + " or ".join(gate_kinds())),
        ("gates: [quality]", "gates[0]: should be a block of keys, and is 'quality'"),
        ("gates: [{latency: {p99_ms: .nan}}]", "should be a number, and is 'nan'"),
        ("gates: [{latency: {p99_ms: " + "9" * 400 + "}}]", "should be a number, and is '999"),
        ("gates: [{latency: {p99_ms: 0}}]", "0 is out of range: more than 0"),
        ("gates: [{slices: {metric: f1, by: [sex]}}]", "gates[0].slices: needs at_least, at_most or gap"),
        ("gates: [{slices: {metric: f1, by: [], gap: 1}}]", "gates[0].slices.by: is an empty list"),
        ("gates: [{slices: {metric: f1, by: [a, a], gap: 1}}]", "names something twice"),
        ("environments: {prod: {approvals: 0}}", "prod takes at least one approval"),
        ("environments: {prod: {approvals: -1}}", "prod.approvals: -1 is out of range: at least 0"),
        ("environments: {prod: {approvals: two}}", "should be a whole number or a list, and is 'two'"),
        ("environments: {prod: {approvals: [{people: 0}]}}", "approvals[0].people: 0 is out of range"),
        ("environments: {prod: {rollout: [{traffic: 5%}]}}", "rollout[0]: needs shadow or traffic and for"),
        ("environments: {prod: {rollout: [{shadow: 1m, for: 1m}]}}", "for: does not go with shadow"),
        (
            "environments: {prod: {rollout: [{traffic: 9%, for: 1m}, {traffic: 9%, for: 1m}]}}",
            "rollout[1]: gives no more traffic",
        ),
        (
            "environments: {prod: {rollout: [{traffic: 9%, for: 1m}, {shadow: 1m}]}}",
            "rollout[1]: a shadow comes before any traffic",
        ),
        ("slo: {availability: 101%}", "slo.availability: is more than 100%"),
        ("data: {holdout: s3://bucket/x}", "data.holdout: is not a file"),
        ("watch: {quality: {metric: f1}}", "watch.quality: needs at_least or at_most"),
        ("watch: {quality: {metric: mae, at_least: 3}}", "watch.quality.at_least: mae is better when lower"),
    ],
)
def test_each_mistake_is_named_on_its_line(addition: str, problem: str) -> None:
    found = problems_of(f"{SMALL}{addition}\n")
    assert any(line.startswith("line 3: ") and problem in line for line in found) or "holdout is missing" in problem
    assert any(problem in line for line in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("model: [x", "line 1: expected ',' or ']'"),
        ("model: x\nmodel: y\n", 'line 2: found duplicate key "model"'),
        ("model: x\n---\nmodel: y\n", "a second document begins"),
        ("model: *nobody\n", "undefined alias"),
        ("model: !!python/object/apply:os.system [ls]\n", "tags (!...) are not taken"),
        ("model: \x00\n", "special characters are not allowed"),
        ("[" * 5_000, "nested more than 12 deep"),
        ("model: " + "9" * 5_000, "4300 digits"),
        ("[1, 2]", "should be a block of keys, and is a list"),
        ("a: &a {b: *a}\n", ""),
        ("? {a: 1}\n: 2\n", ""),
    ],
)
def test_what_is_no_lockgate_yaml_at_all_is_refused(text: str, problem: str) -> None:
    assert any(problem in line for line in problems_of(text))


def test_an_alias_bomb_never_goes_off() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert any("more than 16 aliases" in line for line in problems_of("l0: &l0 [x]\n" + "\n".join(levels)))


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        read(SMALL + "# " + "x" * 70_000)


def test_a_few_aliases_are_fine() -> None:
    text = f"{SMALL}environments:\n  test: &same {{rollout: []}}\n  dev: *same\n"
    assert read(text).entering(DEFAULT.named("dev")).strategy.steps == ()


@given(st.text(max_size=200) | st.text("modelwnr:-[]{}&*!|> \n'\"#,%019", max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(Invalid, TooLarge):
        read(text)


def test_the_published_schema_is_a_schema_and_explains_every_key() -> None:
    published = schema()
    Draft202012Validator.check_schema(published)
    missing: list[str] = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for name, child in node.get("properties", {}).items():
                if "description" not in child and "$ref" not in child:
                    missing.append(f"{path}.{name}")
            for key, child in node.items():
                walk(child, f"{path}.{key}")
        elif isinstance(node, list):
            for child in node:
                walk(child, path)

    walk(json.loads(json.dumps(published)), "")
    assert missing == []


def test_how_a_model_wants_to_be_served_is_read() -> None:
    text = """\
serving:
  lane: python
  timeout: 2s
  log: durable
  sample: 10%
  batch: {rows: 64, wait: 2ms}
  runner: {processes: 2, memory: 1.5GB, call: 10s}
"""
    assert read(SMALL + text).serving == Serving(
        lane="python",
        timeout=2.0,
        log="durable",
        sample=0.1,
        batching=Batching(rows=64, wait=0.002, asked=True),
        runner=RunnerLimits(processes=2, memory_bytes=3 << 29, call_seconds=10.0),
    )
    assert read(SMALL).serving == Serving()
    elsewhere = "serving: {lane: upstream, upstream: {url: 'http://10.0.0.7:8000', token: 'secret://triton'}}\n"
    assert read(SMALL + elsewhere).serving == Serving(
        lane="upstream", upstream=Upstream(url="http://10.0.0.7:8000", token="secret://triton")
    )


def test_everything_wrong_with_how_it_is_served_is_told_at_once() -> None:
    assert problems_of(SMALL + "serving:\n  lane: pyton\n  timeout: soon\n  runner:\n    memory: lots\n") == (
        "line 4: serving.lane: 'pyton' is not one of auto, compiled, python, upstream — did you mean 'python'?",
        "line 5: serving.timeout: 'soon' does not fit: A number and its unit: 30s, 10m, 2h, 7d",
        "line 7: serving.runner.memory: 'lots' does not fit: A number and its unit: 512MB, 2GB",
    )
    contradictory = "serving:\n  timeout: 0s\n  sample: 120%\n  batch: {wait: 2s}\n  runner: {memory: 8MB}\n"
    assert problems_of(SMALL + contradictory + "  upstream: {url: 'https://host'}\n") == (
        "line 4: serving.timeout: is no time at all",
        "line 5: serving.sample: is more than 100%",
        "line 6: serving.batch.wait: 2s is longer than anybody waits for company: 1s at most",
        "line 7: serving.runner.memory: 8MB is too little for any model: 64MB at least",
        "line 8: serving.upstream: does nothing without lane: upstream",
    )
    assert problems_of(SMALL + "serving: {lane: upstream}\n") == (
        "line 3: serving.lane: upstream needs serving.upstream, with the url of the server",
    )
