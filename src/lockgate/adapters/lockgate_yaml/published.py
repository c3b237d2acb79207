"""The JSON Schema of ``lockgate.yaml``, put together from a frame and one file a kind of gate."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

_FRAME = "lockgate.json"
#: In a kind's file: the entries of ``data`` that it cannot do without.
_NEEDS = "x-needs"


@cache
def schema() -> dict[str, Any]:
    """What ``lockgate.schema.json`` holds, which is published for editors. Do not change it."""
    whole = _read(_FRAME)
    entry = whole["properties"]["gates"]["items"]
    kinds = {kind: _read(f"gates/{kind}.json") for kind in gate_kinds()}
    entry["properties"] = {**kinds, **entry["properties"]}
    entry["oneOf"] = [{"required": [kind]} for kind in kinds]
    return whole


@cache
def policy_schema() -> dict[str, Any]:
    """The schema of a policy file: the same gates, but what one cannot do without may be left to the model's file."""
    whole, model = _read("policy/policy.json"), schema()
    whole["$defs"] = model["$defs"]
    rule = whole["properties"]["rules"]["items"]["properties"]
    entry = model["$defs"]["entry"]["properties"]
    rule |= {name: entry[name] for name in ("approvals", "approvals_valid")}
    kinds = {kind: _demand(kind) for kind in demand_kinds()}
    rule["demand"]["items"] |= {"properties": kinds, "oneOf": [{"required": [kind]} for kind in kinds]}
    return whole


@cache
def demand_kinds() -> tuple[str, ...]:
    """Every kind of gate that a policy can demand: those of a model's file, and those that look at any package."""
    folder = files("lockgate.templates").joinpath("schema/policy/gates")
    return tuple(sorted({*gate_kinds(), *(file.name.removesuffix(".json") for file in folder.iterdir())}))


def demand_requires(kind: str) -> tuple[str, ...]:
    """What a gate of this kind cannot do without."""
    return tuple(_gate(kind).get("required", ()))


def _demand(kind: str) -> dict[str, Any]:
    return {name: value for name, value in _gate(kind).items() if name not in ("required", "anyOf", "oneOf", "allOf")}


def _gate(kind: str) -> dict[str, Any]:
    return _read(f"gates/{kind}.json" if kind in gate_kinds() else f"policy/gates/{kind}.json")


@cache
def gate_kinds() -> tuple[str, ...]:
    """Every kind of gate that a file can name, in order of their names."""
    folder = files("lockgate.templates").joinpath("schema/gates")
    return tuple(sorted(file.name.removesuffix(".json") for file in folder.iterdir()))


@cache
def state_schema() -> dict[str, Any]:
    """The schema of a file for ``lockgate apply``; its environments are entered as those of a ``lockgate.yaml``."""
    whole, model = _read("state.json"), schema()
    whole["$defs"] = model["$defs"]
    place = whole["properties"]["environments"]["additionalProperties"]
    place["properties"] |= model["$defs"]["entry"]["properties"]
    return whole


def gate_needs(kind: str) -> tuple[str, ...]:
    """The entries of ``data`` that a gate cannot do without."""
    return tuple(schema()["properties"]["gates"]["items"]["properties"][kind].get(_NEEDS, ()))


def _read(name: str) -> dict[str, Any]:
    return json.loads(files("lockgate.templates").joinpath(f"schema/{name}").read_text("utf-8"))
