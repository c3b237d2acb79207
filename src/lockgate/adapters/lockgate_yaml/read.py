"""``lockgate.yaml`` as records."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from lockgate.adapters.lockgate_yaml.complaints import explain, guess, name_of
from lockgate.adapters.lockgate_yaml.document import Document, Path, parse
from lockgate.adapters.lockgate_yaml.published import gate_needs, schema
from lockgate.adapters.lockgate_yaml.rollout import (
    guard_of,
    rollout_contradictions,
    schedule_contradictions,
    schedule_of,
    steps_of,
)
from lockgate.adapters.lockgate_yaml.serving import serving_contradictions, serving_of
from lockgate.adapters.lockgate_yaml.units import seconds, share
from lockgate.base.errors import Invalid
from lockgate.domain.gates.approvals import SignatureDemand
from lockgate.domain.gates.config import (
    AUTO,
    DataConfig,
    DriftWatch,
    EnvironmentConfig,
    GateSpec,
    ModelConfig,
    QualityWatch,
    SloConfig,
    WatchConfig,
)
from lockgate.domain.gates.environments import DEFAULT, Environment
from lockgate.domain.monitoring.metrics import METRICS
from lockgate.domain.registry.records import Risk
from lockgate.domain.rollout.records import Strategy


def read(text: str) -> ModelConfig:
    """Read a ``lockgate.yaml``.

    Raises:
        TooLarge: more than 64 KiB.
        Invalid: with one problem a line, ``line 12: gates[0].quality: metric is missing``, all of them at once.
    """
    document = parse(text)
    hint = "an editor that knows lockgate.schema.json marks all of this while you type"
    check(document, "lockgate.yaml", _validator(), _contradictions, hint=hint)
    return _config(document.value)


def check(
    document: Document,
    what: str,
    validator: Draft202012Validator,
    contradictions: Callable[[Document], list[tuple[Path, str]]],
    *,
    hint: str,
) -> None:
    """Refuse a document that does not fit its schema or contradicts itself; raises Invalid with every problem."""
    found = [
        (document.line(path), path, complaint)
        for error in validator.iter_errors(document.value)
        for path, complaint in explain(error)
    ]
    # What contradicts itself can only be asked of a file whose parts are sound.
    problems = found or [(document.line(path), path, complaint) for path, complaint in contradictions(document)]
    if problems:
        raise Invalid(
            f"{what} has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            hint=hint,
            problems=tuple(
                _told(*problem) for problem in sorted(problems, key=lambda item: (item[0], name_of(item[1])))
            ),
        )


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def _told(line: int, path: Path, complaint: str) -> str:
    name = name_of(path)
    return f"line {line}: {name}: {complaint}" if name else f"line {line}: {complaint}"


def _contradictions(document: Document) -> list[tuple[Path, str]]:
    value = document.value
    found = [(path, "is more than 100%") for path in _percents_over(value, ())]
    for name, entry in value.get("environments", {}).items():
        found.extend(entering_contradictions(("environments", name), entry))
        if "approvals" in entry and people_of(entry["approvals"]) < _usual(name).approvals:
            found.append((("environments", name, "approvals"), f"{name} takes at least one approval"))
    quality = value.get("watch", {}).get("quality")
    if quality:
        found.extend(metric_contradictions(("watch", "quality"), quality))
    asked = [kind for gate in value.get("gates", []) for kind in gate if kind != "in"]
    data = value.get("data", {})
    for index, gate in enumerate(value.get("gates", [])):
        for kind, params in gate.items():
            if kind == "slices" and not {"at_least", "at_most", "gap"} & set(params):
                found.append((("gates", index, kind), "needs at_least, at_most or gap"))
            if kind != "in":
                found.extend(metric_contradictions(("gates", index, kind), params))
    needing = {role: kind for kind in reversed(asked) for role in gate_needs(kind)}
    found.extend(
        (("data",) if "data" in value else (), f"{role} is missing, and gate {kind} needs it")
        for role, kind in sorted(needing.items())
        if not data.get(role)
    )
    found.extend(
        (("data", role), "is not a file; only files beside lockgate.yaml can be read")
        for role in ("holdout", "training")
        if "://" in str(data.get(role, ""))
    )
    found.extend(serving_contradictions(value.get("serving", {})))
    return found


def entering_contradictions(path: Path, entry: dict[str, Any]) -> list[tuple[Path, str]]:
    """What contradicts itself in how a version enters an environment."""
    return [
        *rollout_contradictions((*path, "rollout"), entry.get("rollout", [])),
        *schedule_contradictions((*path, "schedule"), entry.get("schedule", {})),
    ]


def metric_contradictions(path: Path, params: dict[str, Any]) -> list[tuple[Path, str]]:
    """A metric that there is not, or a limit on its wrong side."""
    name = params.get("metric", AUTO)
    if name == AUTO:
        return []
    metric = METRICS.get(name)
    if metric is None:
        return [
            (
                (*path, "metric"),
                f"there is no metric {name!r}{guess(name, METRICS) or '; there are ' + ', '.join(METRICS)}",
            )
        ]
    wrong, right = ("at_most", "at_least") if metric.higher_is_better else ("at_least", "at_most")
    better = "higher" if metric.higher_is_better else "lower"
    return [((*path, wrong), f"{name} is better when {better}: write {right}")] if wrong in params else []


def _percents_over(value: Any, path: Path) -> list[Path]:
    if isinstance(value, dict):
        return [over for key, item in value.items() for over in _percents_over(item, (*path, key))]
    if isinstance(value, list):
        return [over for index, item in enumerate(value) for over in _percents_over(item, (*path, index))]
    if isinstance(value, str) and path[0] in ("environments", "serving", "slo", "watch") and value.endswith("%"):
        return [path] if float(value[:-1]) > 100 else []
    return []


def _config(value: dict[str, Any]) -> ModelConfig:
    data = value.get("data", {})
    positive = data.get("positive")
    environments = value.get("environments", {})
    return ModelConfig(
        model=value["model"],
        owner=value["owner"],
        risk=Risk(value.get("risk", "medium")),
        description=value.get("description", ""),
        data=DataConfig(
            files={role: data[role] for role in ("holdout", "training") if role in data},
            label=data.get("label", ""),
            positive=None if positive is None else str(positive),
            subject=data.get("subject", ""),
            personal=tuple(data.get("personal", ())),
        ),
        gates=tuple(_gate(entry) for entry in value.get("gates", [])),
        environments={name: environment_of(name, entry) for name, entry in environments.items()},
        watch=_watch(value.get("watch", {})),
        slo=_slo(value.get("slo", {})),
        serving=serving_of(value.get("serving", {})),
    )


def _gate(entry: dict[str, Any]) -> GateSpec:
    kind = next(key for key in entry if key != "in")
    return GateSpec(kind=kind, params=dict(entry[kind]), environments=tuple(entry.get("in", ())))


def _usual(name: str) -> Environment:
    """What holds in an environment where a file says nothing, as far as a file alone can tell."""
    return DEFAULT.named(name) if name in DEFAULT.names else Environment(name=name)


def environment_of(name: str, entry: dict[str, Any]) -> EnvironmentConfig:
    """How a version enters an environment, from what a file says of it."""
    usual = _usual(name)
    steps = steps_of(entry["rollout"]) if "rollout" in entry else usual.strategy.steps
    schedules = (schedule_of(entry["schedule"]),) if "schedule" in entry else ()
    return EnvironmentConfig(
        name=name,
        signatures=signatures_of(entry["approvals"]) if "approvals" in entry else usual.signatures,
        signatures_valid=seconds(entry["approvals_valid"]) if "approvals_valid" in entry else usual.signatures_valid,
        strategy=Strategy(steps=steps, guard=guard_of(entry.get("guard", {})), schedules=schedules),
    )


def people_of(asked: int | list[dict[str, Any]]) -> int:
    """How many people ``approvals`` asks for."""
    return asked if isinstance(asked, int) else sum(each.get("people", 1) for each in asked)


def signatures_of(asked: int | list[dict[str, Any]]) -> tuple[SignatureDemand, ...]:
    """Who ``approvals`` asks for."""
    if isinstance(asked, int):
        return (SignatureDemand(people=asked),) if asked else ()
    return tuple(
        SignatureDemand(people=each.get("people", 1), of=each.get("of", ""), among=tuple(each.get("among", ())))
        for each in asked
    )


def _watch(entry: dict[str, Any]) -> WatchConfig:
    drift = entry.get("drift", {})
    quality = entry.get("quality")
    asked = drift if isinstance(drift, dict) else {}
    return WatchConfig(
        drift=DriftWatch(
            on=drift is not False,
            least_distance=asked.get("least_distance"),
            least_shift=asked.get("least_shift"),
            least_share=share(asked["least_share"]) if "least_share" in asked else None,
            least_rows=asked.get("least_rows"),
            window_seconds=seconds(asked["window"]) if "window" in asked else None,
        ),
        quality=None
        if quality is None
        else QualityWatch(
            metric=quality["metric"],
            at_least=quality.get("at_least"),
            at_most=quality.get("at_most"),
            labels_within=seconds(quality.get("labels_within", "7d")),
            least_rows=quality.get("least_rows"),
        ),
    )


def _slo(entry: dict[str, Any]) -> SloConfig:
    latency = entry.get("latency")
    return SloConfig(
        availability=share(entry["availability"]) if "availability" in entry else None,
        latency_under_ms=latency["under_ms"] if latency else None,
        latency_share=share(latency["for"]) if latency else None,
    )
