"""What a policy would have said of a report that was made under another, by the figures that were kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import GateSpec, Policy
from lockgate.domain.gates.records import GateReport, GateResult
from lockgate.domain.gates.strictness import same_question, stricter_of

#: Parameter -> the figure that is held to it, and whether more of that figure is better; "-" turns its sign round.
_HELD: dict[str, tuple[str, bool]] = {
    "at_least": ("value", True),
    "at_most": ("value", False),
    "margin": ("-low", False),
    "p99_ms": ("p99_ms", False),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hindsight:
    """What one demand says of evidence that was there already."""

    gate: str
    name: str
    verdict: Verdict
    sentence: str


def in_hindsight(policy: Policy, report: GateReport, *, auto: str) -> tuple[Hindsight, ...]:
    """Each demand of the policy, held against the report's evidence. What was never looked at is unknown."""
    return tuple(_one(spec, report, auto) for spec in policy.gates)


def _one(spec: GateSpec, report: GateReport, auto: str) -> Hindsight:
    found = [
        result
        for result in report.results
        if result.gate == spec.kind and (spec.open or same_question(_as_asked(result), spec, auto=auto))
    ]
    name = str(spec.params.get("metric", ""))
    if not found:
        told = f"there is no evidence of {f'{spec.kind} {name}'.strip()}: nothing asked for it then"
        return Hindsight(gate=spec.kind, name=name, verdict=Verdict.UNKNOWN, sentence=told)
    result = found[0]
    if result.verdict is not Verdict.PASS:
        return _said(result, result.verdict, result.sentence)
    for key, value in spec.params.items():
        verdict, sentence = _held(key, value, spec, result)
        if verdict is not Verdict.PASS:
            return _said(result, verdict, sentence)
    return _said(result, Verdict.PASS, result.sentence)


def _held(key: str, value: Any, spec: GateSpec, result: GateResult) -> tuple[Verdict, str]:
    """Whether what passed then is enough for one figure of the demand."""
    then = _as_asked(result)
    only = GateSpec(kind=spec.kind, params={key: value})
    if stricter_of(then, only).params.get(key) == then.params.get(key, _MISSING):
        return Verdict.PASS, ""
    if key == "refuse":
        form = result.figures.get("serialization")
        if form is None or form not in value:
            return (Verdict.PASS, "") if form is not None else (Verdict.UNKNOWN, "the form of the model was not kept")
        return Verdict.FAIL, f"the model is stored as {form}, which is refused"
    figure = _figure(key, result.figures)
    if figure is None:
        was = then.params.get(key, "nothing")
        return Verdict.UNKNOWN, f"{key} was {was} then and {value} is demanded: only a new report can tell"
    more_is_better = _HELD[key][1]
    good = figure >= value if more_is_better else figure <= value
    if good:
        return Verdict.PASS, ""
    word = key.replace("_", " ")
    return Verdict.FAIL, f"{result.gate} {result.name} was {figure:.4g} then, and {word} {value:g} is demanded"


_MISSING = object()


def _figure(key: str, figures: Mapping[str, Any]) -> float | None:
    name, _ = _HELD.get(key, ("", True))
    value = figures.get(name.removeprefix("-"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return -float(value) if name.startswith("-") else float(value)


def _as_asked(result: GateResult) -> GateSpec:
    """The demand that a result answered; of reports that did not keep it, what their figures tell."""
    if result.params:
        return GateSpec(kind=result.gate, params=result.params)
    kept = {key: result.figures[key] for key in ("margin", "confidence") if key in result.figures}
    named = {"metric": result.name} if "metric" in result.figures else {}
    return GateSpec(kind=result.gate, params=named | kept)


def _said(result: GateResult, verdict: Verdict, sentence: str) -> Hindsight:
    return Hindsight(gate=result.gate, name=result.name, verdict=verdict, sentence=sentence)
