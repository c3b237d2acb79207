"""What is different between two versions: data, features, parameters, metrics, requirements, gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lockgate.domain.gates.config import GateSpec, ModelConfig
from lockgate.domain.gates.records import GateReport
from lockgate.domain.registry.manifest import Column, Manifest, to_plain
from lockgate.domain.registry.records import Version


class Part(StrEnum):
    """What a difference belongs to."""

    MODEL = "model"  # how it is made, stored and served
    DATA = "data"
    FEATURES = "features"
    OUTPUTS = "outputs"
    PARAMETERS = "parameters"
    METRICS = "metrics"
    REQUIREMENTS = "requirements"
    DEMANDS = "demands"  # the gates that its lockgate.yaml names
    GATES = "gates"  # what the gates said, in each environment


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that is not the same; None where one of them lacks it."""

    part: Part
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One of the two versions, with all that is compared of it."""

    version: Version
    #: None while it is not packaged.
    manifest: Manifest | None
    config: ModelConfig
    #: Its newest report in each environment.
    reports: tuple[GateReport, ...] = ()


def differences(before: Compared, after: Compared) -> tuple[Difference, ...]:
    """All differences, by part and then by name."""
    pairs: dict[Part, tuple[Mapping[str, str], Mapping[str, str]]] = {
        part: (read(before), read(after)) for part, read in _READERS.items()
    }
    return tuple(
        Difference(part=part, name=name, before=left.get(name), after=right.get(name))
        for part, (left, right) in pairs.items()
        for name in _names(left, right)
        if left.get(name) != right.get(name)
    )


def _names(left: Mapping[str, str], right: Mapping[str, str]) -> list[str]:
    return sorted({*left, *right})


def _model(side: Compared) -> dict[str, str]:
    made = side.manifest
    if made is None:
        return {"state": side.version.state.value}
    said = {
        "task": made.task,
        "flavor": made.flavor,
        "stored as": made.serialization,
        "lane": made.lane,
        "classes": ", ".join(made.classes),
        "positive class": made.positive or "",
        "python": made.python,
        "precision": made.graph.precision if made.graph else "",
        "risk": side.config.risk.value,
        "owner": side.config.owner,
    }
    serving = {f"serving.{name}": _text(value) for name, value in to_plain(made.serving).items()}
    return {name: value for name, value in {**said, **serving}.items() if value}


def _data(side: Compared) -> dict[str, str]:
    facts = {"label": side.config.data.label, "subject": side.config.data.subject}
    return {**side.version.data, **{name: value for name, value in facts.items() if value}}


def _features(side: Compared) -> dict[str, str]:
    return {column.name: _column(column) for column in side.manifest.signature.inputs} if side.manifest else {}


def _column(column: Column) -> str:
    said = [column.kind.value]
    if column.shape:
        said.append(f"of shape {list(column.shape)}")
    if column.low is not None and column.high is not None:
        said.append(f"from {column.low:.4g} to {column.high:.4g}")
    if column.categories is not None:
        shown = ", ".join(column.categories[:8])
        said.append(f"one of {shown}{', …' if len(column.categories) > 8 else ''} ({len(column.categories)})")
    said += [word for word, held in (("optional", column.optional), ("personal", column.personal)) if held]
    return ", ".join(said)


def _outputs(side: Compared) -> dict[str, str]:
    if side.manifest is None:
        return {}
    return {out.name: f"{out.datatype} {list(out.shape)}" for out in side.manifest.signature.outputs}


def _parameters(side: Compared) -> dict[str, str]:
    return dict(side.manifest.parameters) if side.manifest else {}


def _metrics(side: Compared) -> dict[str, str]:
    return {name: f"{value:.6g}" for name, value in side.manifest.metrics.items()} if side.manifest else {}


def _requirements(side: Compared) -> dict[str, str]:
    listed = side.manifest.requirements if side.manifest else ()
    return {name: pin for name, _, pin in (line.partition("==") for line in listed)}


def _demands(side: Compared) -> dict[str, str]:
    return dict(_numbered((gate.kind, _demand(gate)) for gate in side.config.gates))


def _demand(gate: GateSpec) -> str:
    where = f" in {', '.join(gate.environments)}" if gate.environments else ""
    return f"{_text(gate.params)}{where}"


def _gates(side: Compared) -> dict[str, str]:
    return dict(
        _numbered(
            (" ".join(part for part in (report.environment, result.gate, result.name) if part), said)
            for report in side.reports
            for result in report.results
            for said in (f"{result.verdict.value}: {result.sentence}",)
        )
    )


def _numbered(named: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Names made unique: the second of a name is ``name (2)``."""
    seen: dict[str, int] = {}
    for name, value in named:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), value


def _text(value: object) -> str:
    if isinstance(value, dict):
        held = ((str(name), item) for name, item in value.items() if item not in (None, "", (), []))
        return ", ".join(f"{name}: {_text(item)}" for name, item in sorted(held))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


_READERS = {
    Part.MODEL: _model,
    Part.DATA: _data,
    Part.FEATURES: _features,
    Part.OUTPUTS: _outputs,
    Part.PARAMETERS: _parameters,
    Part.METRICS: _metrics,
    Part.REQUIREMENTS: _requirements,
    Part.DEMANDS: _demands,
    Part.GATES: _gates,
}
