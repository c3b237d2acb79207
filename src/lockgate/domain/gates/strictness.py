"""Which of two demands is the stricter one, figure by figure.

Two gates ask the same when they are of one kind and agree in everything that is no figure: the metric, the column, the
name. They become one gate with the stricter of each figure, so whatever passes it passes both. Gates that differ in
anything else both stand. A figure whose direction is not known here belongs to what has to agree: in doubt both stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from lockgate.domain.gates.config import AUTO, GateSpec

#: Figures of which more is stricter.
HIGHER = frozenset({"agreement", "at_least", "at_rps", "confidence", "rows", "rows_per_second", "seconds"})
#: Figures of which less is stricter.
LOWER = frozenset(
    {"at_most", "cold_start_ms", "gap", "growth_mb", "margin", "memory_mb"}
    | {"p50_ms", "p95_ms", "p99_ms", "size_mb", "tolerance"}
)
#: Lists of which more entries are stricter.
UNION = frozenset({"forbidden", "refuse", "slices"})
#: Kinds whose parameters only ever add to what is looked at: one without any asks nothing that one with some does not.
ADDING = frozenset({"behaviour", "data"})
#: What a gate takes where its file says nothing; any other figure that is not there demands nothing.
_ABSENT: dict[tuple[str, str], float] = {("regression", "margin"): 0.0, ("regression", "confidence"): 0.95}


def stricter_of(one: GateSpec, other: GateSpec) -> GateSpec:
    """``one`` with each figure at least as strict as in ``other``; both are of one kind."""
    if one.kind in ADDING and not one.params:
        return replace(one, params=dict(other.params))
    params = dict(one.params)
    for key, value in other.params.items():
        if key in HIGHER | LOWER:
            mine = params.get(key, _ABSENT.get((one.kind, key)))
            params[key] = value if mine is None else max(mine, value) if key in HIGHER else min(mine, value)
        elif key in UNION:
            params[key] = list(dict.fromkeys([*cast("list[Any]", params.get(key, [])), *cast("list[Any]", value)]))
    for key in set(params) - set(other.params):
        usual = _ABSENT.get((one.kind, key))
        if usual is not None:
            params[key] = max(params[key], usual) if key in HIGHER else min(params[key], usual)
    return replace(one, params=params)


def figures_of(spec: GateSpec) -> dict[str, Any]:
    """Those parameters that can be more or less strict."""
    return {key: value for key, value in spec.params.items() if key in HIGHER | LOWER | UNION}


def same_question(one: GateSpec, other: GateSpec, *, auto: str) -> bool:
    """Whether two gates ask the same, if not equally strictly; ``auto`` is the metric that suits the model."""
    if one.kind != other.kind:
        return False
    if one.kind in ADDING and not (one.params and other.params):
        return True
    return _question(one, auto) == _question(other, auto)


def merged(specs: Iterable[GateSpec], *, auto: str) -> list[GateSpec]:
    """The same demands in fewer gates: those that ask the same become one, at the place of the first."""
    found: list[GateSpec] = []
    for spec in specs:
        place = next((at for at, known in enumerate(found) if same_question(known, spec, auto=auto)), None)
        if place is None:
            found.append(spec)
        else:
            # What is asked in full answers what was left open.
            both = replace(stricter_of(found[place], spec), open=found[place].open and spec.open)
            found[place] = both
    return found


def _question(spec: GateSpec, auto: str) -> dict[str, Any]:
    asked = {key: value for key, value in spec.params.items() if key not in HIGHER | LOWER | UNION}
    return asked | {"metric": auto} if asked.get("metric") == AUTO and auto else asked
