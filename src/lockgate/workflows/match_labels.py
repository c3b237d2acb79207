"""Find the prediction that each waiting label is about."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.window import minute_of
from lockgate.ports import Label, Labels, Prediction, PredictionTable


def match_labels(labels: Labels, table: PredictionTable, *, limit: int = 10_000) -> int:
    """Join labels that have come with predictions that have been logged; gives how many found theirs.

    A label whose prediction is not in the table yet goes on waiting: a segment is sealed seconds after its last row.
    A label that names another endpoint than its prediction's is not joined, for it is about something else.
    """
    waiting = labels.waiting(limit)
    if not waiting:
        return 0
    known = {found.prediction_id: found for found in table.find([label.prediction_id for label in waiting])}
    matched = [
        _with(label, known[label.prediction_id])
        for label in waiting
        if label.prediction_id in known and known[label.prediction_id].endpoint == label.endpoint
    ]
    if matched:
        labels.match(matched)
    return len(matched)


def _with(label: Label, found: Prediction) -> Label:
    return replace(
        label,
        version=found.version,
        minute=minute_of(found.at),
        score=found.score,
        predicted=found.predicted,
    )
