"""Policy files: what an organisation demands of its models, and what follows from them for one model.

How they come together, in this order:

1. Every rule that fits the environment, the risk tier, the model and its owner counts, whichever file it stands in.
2. Gates that ask the same become one with the stricter of each figure (`strictness`). Others all stand.
3. A model's own gate that asks the same as a rule's becomes as strict as the rule where it is not; where it is
   stricter, it stays so. What the model's file demands beside that stands too.
4. A demand that leaves open what exactly is asked makes every gate of its kind in the model's file at least that
   strict. Where the file has none, the demand itself stands, and cannot pass.
5. Everybody who is asked to sign, by a rule or by the model's file, has to. Of the numbers of people asked for, the
   largest counts.

So a file of a model can ask for more than the policies do, and never for less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from lockgate.domain.gates.approvals import SignatureDemand
from lockgate.domain.gates.config import GateSpec, ModelConfig, Policy
from lockgate.domain.gates.environments import DEFAULT as DEFAULT_ENVIRONMENTS
from lockgate.domain.gates.environments import Environment, Environments
from lockgate.domain.gates.strictness import merged, same_question, stricter_of
from lockgate.domain.registry.records import Risk

#: The file that is in force from the beginning; one of that name that is applied takes its place.
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyRule:
    """What is demanded where; an empty scope means all."""

    environments: tuple[str, ...] = ()
    risks: tuple[Risk, ...] = ()
    #: Names, or patterns such as ``icu-*``.
    models: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    demands: tuple[GateSpec, ...] = ()
    #: Who, other than the requester, has to sign.
    signatures: tuple[SignatureDemand, ...] = ()
    #: Seconds for which a signature counts, at most; None says nothing of it.
    signatures_valid: float | None = None

    def fits(self, place: Environment, risk: Risk, model: str, owner: str) -> bool:
        """Whether it speaks of this model there; an environment is meant by its name, or by the stage it is like."""
        return (
            (not self.environments or not {place.name, place.like}.isdisjoint(self.environments))
            and (not self.risks or risk in self.risks)
            and _matches(model, self.models)
            and _matches(owner, self.owners)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyText:
    """A policy file, read."""

    name: str
    description: str = ""
    rules: tuple[PolicyRule, ...]
    #: As it was written, and the content address of that.
    text: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFile:
    """A policy file that was applied. Its id is ``name:number``; another text of the name is the next number."""

    id: str
    revision: int = 0
    name: str
    number: int
    description: str = ""
    text: str
    digest: str
    rules: tuple[PolicyRule, ...]
    #: Whether it is in force; of each name at most one is.
    active: bool
    applied_by: str
    created_at: datetime


def in_force(default: PolicyText, applied: Iterable[PolicyFile]) -> dict[str, PolicyText | PolicyFile]:
    """The files that count now, by name: the default unless one of its name was applied, and every active one."""
    return {default.name: default, **{file.name: file for file in applied if file.active}}


def rules_of(files: Mapping[str, PolicyText | PolicyFile]) -> tuple[PolicyRule, ...]:
    """All rules, in the order of the files' names, the default's first."""
    ordered = sorted(files, key=lambda name: (name != DEFAULT, name))
    return tuple(rule for name in ordered for rule in files[name].rules)


def policy_for(
    config: ModelConfig,
    environment: str,
    risk: Risk | None = None,
    environments: Environments = DEFAULT_ENVIRONMENTS,
    *,
    rules: Sequence[PolicyRule] = (),
    auto: str = "",
) -> Policy:
    """The gates and approvals that ``environment`` demands of a model, by the rules above.

    Args:
        risk: overrules the file's own tier.
        environments: those there are.
        rules: of the policy files in force.
        auto: the metric that suits the model (`auto_metric`); without it ``auto`` agrees with no named metric.

    Raises:
        Invalid: there is no such environment.
    """
    tier = risk or config.risk
    place = environments.named(environment)
    fitting = [rule for rule in rules if rule.fits(place, tier, config.model, config.owner)]
    demanded = merged((demand for rule in fitting for demand in rule.demands), auto=auto)
    own = [gate for gate in config.gates if gate.applies(environment)]
    standing: list[GateSpec] = []
    for demand in demanded:
        touched = [gate.kind == demand.kind if demand.open else same_question(gate, demand, auto=auto) for gate in own]
        own = [stricter_of(gate, demand) if touch else gate for gate, touch in zip(own, touched, strict=True)]
        if not any(touched):
            standing.append(demand)
    entry = config.entering(place)
    valid = (rule.signatures_valid for rule in fitting if rule.signatures_valid is not None)
    return Policy(
        environment=environment,
        risk=tier,
        label=config.data.label,
        positive=config.data.positive,
        subject=config.data.subject,
        gates=(*standing, *own),
        signatures=all_sign([place.signatures, entry.signatures, *(rule.signatures for rule in fitting)]),
        signatures_valid=min(entry.signatures_valid, place.signatures_valid, *valid),
    )


def all_sign(asked: Sequence[Sequence[SignatureDemand]]) -> tuple[SignatureDemand, ...]:
    """One demand for signatures that, when it is met, meets each of those given."""
    named: dict[tuple[str, tuple[str, ...]], int] = {}
    most = max((sum(demand.people for demand in demands) for demands in asked), default=0)
    for demands in asked:
        mine: dict[tuple[str, tuple[str, ...]], int] = {}
        for demand in demands:
            if demand.of or demand.among:
                key = (demand.of, demand.among)
                mine[key] = mine.get(key, 0) + demand.people
        named = {key: max(named.get(key, 0), mine.get(key, 0)) for key in {**named, **mine}}
    found = [SignatureDemand(people=people, of=of, among=among) for (of, among), people in named.items()]
    others = most - sum(named.values())
    return (*found, SignatureDemand(people=others)) if others > 0 else tuple(found)


def auto_metric(task: str, positive: str | None) -> str:
    """The metric that suits a model's task; empty where none does."""
    if task == "regression":
        return "r2"
    if task != "classification":
        return ""
    return "accuracy" if positive is None else "roc_auc"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
