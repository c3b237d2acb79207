"""What a model's file says of its tables, held against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.findings import Finding
from lockgate.base.verdict import Verdict

_MOST_SHOWN = 5


def declared_data(evidence: Evidence, params: dict[str, Any]) -> Iterator[Finding]:
    """``columns`` with min, max, values, not_null and unique, ``key`` and ``least_rows``: for holdout and training."""
    tables = {"holdout": evidence.labelled.table.frame}
    if evidence.training is not None:
        tables["training"] = evidence.training.table.frame
    least = params.get("least_rows")
    for role, frame in tables.items():
        if least is not None and len(frame) < least:
            yield _said(role, "rows", f"{role} has {len(frame):,} rows, and {least:,} are asked for")
        if params.get("key"):
            yield from _key(role, frame, list(params["key"]))
        for name, rules in params.get("columns", {}).items():
            yield from _column(role, frame, name, dict(rules))
    count = len(params.get("columns", {}))
    yield Finding(name="declared", verdict=Verdict.PASS, sentence=f"{count} columns are declared in lockgate.yaml")


def _said(role: str, name: str, sentence: str) -> Finding:
    return Finding(
        name=f"{name} in {role}",
        verdict=Verdict.FAIL,
        sentence=sentence,
        hint="mend the table where it is made, or what lockgate.yaml says of it",
    )


def _key(role: str, frame: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise CannotTell(f"the {role} data has no column {', '.join(missing)} of the key")
    twice = int(frame.duplicated(subset=names).sum())
    if twice:
        yield _said(role, "key", f"{twice:,} rows of {role} repeat a key of {', '.join(names)}")


def _column(role: str, frame: pd.DataFrame, name: str, rules: dict[str, Any]) -> Iterator[Finding]:
    if name not in frame.columns:
        yield _said(role, name, f"the {role} data has no column {name!r}")
        return
    series: Any = frame[name]
    present = series.dropna()
    problems: list[str] = []
    gaps = len(series) - len(present)
    if rules.get("not_null") and gaps:
        problems.append(f"{gaps:,} rows have no value")
    if rules.get("unique") and present.duplicated().any():
        problems.append(f"{int(present.duplicated().sum()):,} values repeat")
    if "values" in rules:
        known = {str(value) for value in rules["values"]}
        strange = sorted({str(value) for value in present.unique()} - known)
        if strange:
            problems.append(f"found {', '.join(strange[:_MOST_SHOWN])}, which is none of its values")
    if "min" in rules or "max" in rules:
        problems += _range(present, rules)
    if problems:
        yield _said(role, name, f"{name} in {role}: {'; '.join(problems)}")


def _range(present: Any, rules: dict[str, Any]) -> Iterator[str]:
    try:
        numbers = present.astype("float64").to_numpy()
    except (TypeError, ValueError):
        yield "holds something that is no number, and a range is declared"
        return
    low, high = float(rules.get("min", -np.inf)), float(rules.get("max", np.inf))
    outside = int(((numbers < low) | (numbers > high)).sum())
    if outside:
        seen = f"{numbers.min():.4g} to {numbers.max():.4g}"
        yield f"{outside:,} values lie outside {low:g} to {high:g} (it runs from {seen})"
