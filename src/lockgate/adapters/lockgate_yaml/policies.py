"""Policy files as records."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from lockgate.adapters.lockgate_yaml.document import Document, Path, parse
from lockgate.adapters.lockgate_yaml.published import demand_requires, policy_schema
from lockgate.adapters.lockgate_yaml.read import check, metric_contradictions, signatures_of
from lockgate.adapters.lockgate_yaml.units import seconds
from lockgate.base.digest import digest_of
from lockgate.base.errors import Invalid
from lockgate.domain.gates.config import AUTO, GateSpec
from lockgate.domain.gates.policies import PolicyRule, PolicyText
from lockgate.domain.gates.strictness import figures_of
from lockgate.domain.registry.records import Risk


def read_policy(text: str) -> PolicyText:
    """Read a policy file.

    Raises:
        TooLarge: more than 64 KiB.
        Invalid: with one problem a line, ``line 7: rules[0].demand[1].quality: …``, all of them at once.
    """
    try:
        document = parse(text)
    except Invalid as error:
        raise Invalid(
            "the policy cannot be read", problems=error.problems, hint="`lockgate policy show default` shows one"
        ) from error
    hint = "docs/gates.md tells what a policy can say; `lockgate policy show default` shows one"
    check(document, "the policy", _validator(), _contradictions, hint=hint)
    value = document.value
    return PolicyText(
        name=value["policy"],
        description=value.get("description", ""),
        rules=tuple(_rule(rule) for rule in value["rules"]),
        text=text,
        digest=digest_of(text.encode()),
    )


@cache
def default_policy() -> PolicyText:
    """The platform's own policy, which comes with it."""
    return read_policy(files("lockgate.templates").joinpath("policies/default.yaml").read_text("utf-8"))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(policy_schema())


def _rule(rule: dict[str, Any]) -> PolicyRule:
    return PolicyRule(
        environments=tuple(rule.get("in", ())),
        risks=tuple(Risk(name) for name in rule.get("risk", ())),
        models=tuple(rule.get("models", ())),
        owners=tuple(rule.get("owners", ())),
        demands=tuple(_demand(kind, params) for entry in rule.get("demand", []) for kind, params in entry.items()),
        signatures=signatures_of(rule.get("approvals", 0)),
        signatures_valid=seconds(rule["approvals_valid"]) if "approvals_valid" in rule else None,
    )


def _demand(kind: str, params: dict[str, Any]) -> GateSpec:
    spec = GateSpec(kind=kind, params=dict(params))
    incomplete = any(name not in params for name in demand_requires(kind))
    # "Say how good is good enough": any metric with any floor of the model's own will do.
    unsaid = kind == "quality" and params.get("metric", AUTO) == AUTO and not figures_of(spec)
    return GateSpec(kind=kind, params=spec.params, open=incomplete or unsaid)


def _contradictions(document: Document) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for place, rule in enumerate(document.value["rules"]):
        for index, entry in enumerate(rule.get("demand", [])):
            for kind, params in entry.items():
                path = ("rules", place, "demand", index, kind)
                found.extend(metric_contradictions(path, params))
                low, high = params.get("at_least"), params.get("at_most")
                if low is not None and high is not None and low > high:
                    found.append((path, f"nothing is at least {low:g} and at most {high:g}"))
    return found
