"""The gate that looks at the tables: what they say of themselves, and whether the holdout can be believed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lockgate.adapters.packages.evidence import Evidence
from lockgate.adapters.packages.gates.declared_data import declared_data
from lockgate.adapters.packages.gates.difficulty import equally_hard, labels_alike
from lockgate.adapters.packages.gates.findings import as_one, look_at
from lockgate.adapters.packages.gates.leakage import (
    known_before,
    known_subjects,
    learned_by_heart,
    repeated_rows,
    telling_column,
)
from lockgate.adapters.packages.gates.moved import moved_from_live, moved_from_training
from lockgate.domain.gates.records import GateResult


def judge_data(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """Whether the rows are what the file says, and whether the holdout tells anything new: no row, subject or label of
    it was known to the model, no column gives the answer away, and both tables come from the world that is served."""
    looks = [
        ("declared", partial(declared_data, evidence, params)),
        ("labels", partial(labels_alike, evidence)),
        ("repeated rows", partial(repeated_rows, evidence)),
        ("subjects", partial(known_subjects, evidence)),
        ("time", partial(known_before, evidence, params)),
        ("telling column", partial(telling_column, evidence)),
        ("equally hard", partial(equally_hard, evidence)),
        ("learned by heart", partial(learned_by_heart, evidence, rng)),
        ("moved from training", partial(moved_from_training, evidence)),
        ("moved from live", partial(moved_from_live, evidence)),
    ]
    found = look_at(looks)
    return as_one("data", "", found, nothing=f"all {len(found)} looks at the tables found what they should")
