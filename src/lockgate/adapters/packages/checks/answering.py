"""A package as checks see it: facts, and answers to rows of any columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lockgate.adapters.packages.build import features_of
from lockgate.adapters.packages.evidence import Runner
from lockgate.adapters.packages.tables import Table
from lockgate.domain.registry.manifest import Manifest


def facts_of(manifest: Manifest) -> dict[str, Any]:
    """What a check may know of a package."""
    return {
        "model": manifest.model,
        "task": manifest.task,
        "classes": list(manifest.classes),
        "positive": manifest.positive,
        "parameters": manifest.parameters,
        "metrics": manifest.metrics,
        "inputs": {
            column.name: {
                "low": column.low,
                "high": column.high,
                "categories": None if column.categories is None else list(column.categories),
                "optional": column.optional,
            }
            for column in manifest.signature.inputs
        },
    }


def answer(manifest: Manifest, runner: Runner, rows: pd.DataFrame, *, beside: tuple[str, ...]) -> Any:
    """An Arrow table: ``prediction`` and, of a classifier, ``p:0``, ``p:1`` … in the order of its classes.

    Args:
        manifest: of the package.
        runner: answers for it.
        rows: by the names of its inputs; other columns are ignored.
        beside: columns that are no features, where the model takes a matrix.

    Raises:
        Invalid: columns are missing, or the model refuses the rows.
    """
    frame = features_of(Table(role="check", frame=rows), manifest.signature.inputs, leave_out=beside)
    found = runner.answer(frame)
    if found.picked is None:
        return pa.table({"prediction": np.asarray(found.scores, dtype=np.float64).reshape(len(rows))})
    labels = np.array(named(manifest.classes))[found.picked]
    columns: dict[str, Any] = {"prediction": labels}
    columns |= {f"p:{at}": np.ascontiguousarray(found.scores[:, at]) for at in range(len(manifest.classes))}
    return pa.table(columns)


def named(classes: tuple[str, ...]) -> list[Any]:
    """Classes as labels have them: whole numbers where all are."""
    return [int(name) for name in classes] if all(name.lstrip("-").isdigit() for name in classes) else list(classes)
