"""Candidates that are as good as what is live: trained again by the same recipe, on other seeds, folds and days."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gauntlet.faults import Made
from benchmarks.gauntlet.tables import Table
from benchmarks.gauntlet.training import Split, fit, forest


def sound(table: Table, split: Split, count: int) -> Iterator[tuple[str, Made]]:
    """So many of them, each by a name that says how it was trained."""
    for number in range(count):
        rows: Any = split.training
        if number % 3 == 1:
            name, rows = "another fold", rows.drop(index=rows.index[number % 10 :: 10]).reset_index(drop=True)
        elif number % 3 == 2:
            name, rows = "later rows", rows[len(rows) // 12 :].reset_index(drop=True)
        else:
            name = "another seed"
        model = fit(forest(table, seed=100 + number, trees=(60, 80, 120)[number % 3]), rows)
        yield name, Made(model=model, training=rows, holdout=split.holdout, logged=rows)
