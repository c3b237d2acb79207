"""What the gates over labelled rows have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.groups import groups_of
from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.outcomes import Metric

#: Fewest labelled rows that any statement is made on.
LEAST_ROWS = 50
#: Fewest rows of a group that is judged by itself.
SLICE_ROWS = 50
CONFIDENCE = 0.95


def bound(metric: Metric) -> str:
    """The name of a metric's limit in the file."""
    return "at_least" if metric.higher_is_better else "at_most"


def limit_of(metric: Metric, params: dict[str, Any]) -> float | None:
    """The limit a gate names, if any; raises Invalid when it points the wrong way."""
    wrong = "at_most" if metric.higher_is_better else "at_least"
    if wrong in params:
        better = "higher" if metric.higher_is_better else "lower"
        raise Invalid(f"{metric.name} is better when {better}", hint=f"write {bound(metric)} in place of {wrong}")
    limit = params.get(bound(metric))
    return None if limit is None else float(limit)


def parts_of(evidence: Evidence, column: str, least: int) -> dict[str, NDArray[np.int64]]:
    """Positions of the labelled rows of each group of a column; raises CannotTell when there is no such column."""
    labelled = evidence.labelled
    if column not in labelled.table.frame.columns:
        raise CannotTell(f"the holdout data has no column {column!r} to divide it by")
    return groups_of(labelled.table.frame[column][labelled.kept], least_rows=least)
