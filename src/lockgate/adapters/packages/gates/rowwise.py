"""Candidate and live version row by row: on all rows, on each class, and on every group that the columns make.

A figure over all rows hides what is lost on few of them, and an order of the rows hides scores that have moved. Each
difference is of a loss on the same row, so what makes rows hard cancels out (paired, one-sided, Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.packages.answers import Floats, class_indexes
from lockgate.adapters.packages.evidence import Evidence
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.groups import groups_of

#: Chance that a candidate as good as the live version is called worse anywhere.
_ALPHA = 0.002
#: Fewest rows of a group, and most columns and groups of one that are looked at.
_LEAST, _MOST_COLUMNS, _MOST_GROUPS = 40, 40, 12
#: What a margin may allow at least and at most: on all rows, and on a class or group of them.
_ALL, _GROUP = (0.02, 0.05), (0.08, 0.12)


@dataclass(frozen=True, kw_only=True)
class Worse:
    """Where the candidate is surely worse."""

    #: What is lost: error, or distance of the probability from the truth.
    loss: str
    where: str
    rows: int
    candidate: float
    champion: float
    #: Standard errors that the difference lies above what is allowed.
    sigmas: float

    def __str__(self) -> str:
        return f"{self.loss} on {self.where} is {self.candidate:.3g} against {self.champion:.3g} ({self.rows:,} rows)"


def surely_worse(evidence: Evidence, margin: float) -> tuple[list[Worse], list[dict[str, Any]]]:
    """Where the candidate is surely worse than the live version, and what was compared.

    Args:
        margin: how much worse is allowed, within bounds that hold for losses.
    """
    losses = list(_losses(evidence))
    groups = list(_groups(evidence))
    distance = NormalDist().inv_cdf(1 - _ALPHA / max(len(losses) * (len(groups) + 1), 1))
    found: list[Worse] = []
    told: list[dict[str, Any]] = []
    for name, own, beside in losses:
        for where, rows in (("all rows", np.arange(len(own))), *groups):
            least, most = _ALL if where == "all rows" else _GROUP
            allowed = min(max(margin, least), most)
            difference = own[rows] - beside[rows]
            error = sqrt(float(np.var(difference)) / len(rows)) + 1e-12
            sigmas = (float(difference.mean()) - allowed) / error
            said = Worse(
                loss=name,
                where=where,
                rows=len(rows),
                candidate=float(own[rows].mean()),
                champion=float(beside[rows].mean()),
                sigmas=sigmas,
            )
            told.append(
                {
                    "loss": name,
                    "where": where,
                    "rows": len(rows),
                    "candidate": rounded(said.candidate),
                    "champion": rounded(said.champion),
                    "worse": sigmas > distance,
                }
            )
            if sigmas > distance:
                found.append(said)
    return sorted(found, key=lambda item: -item.sigmas), told


def _losses(evidence: Evidence) -> Iterator[tuple[str, Floats, Floats]]:
    """Name of a loss, and its values for candidate and live version; shape (rows,), each between 0 and about 1."""
    ours, theirs = evidence.outcomes, evidence.champion_outcomes
    labels = ours.labels
    if not evidence.candidate.classes:
        spread = float(np.std(labels.astype(np.float64))) or 1.0
        for name, power in (("absolute error", 1), ("squared error", 2)):
            yield (
                f"{name} (of the spread)",
                np.abs((labels - ours.predicted) / spread) ** power,
                np.abs((labels - theirs.predicted) / spread) ** power,
            )
        return
    yield "error", (ours.predicted != labels).astype(np.float64), (theirs.predicted != labels).astype(np.float64)
    own, beside = evidence.answer.scores, _renumbered(evidence)
    truth = np.eye(own.shape[1] + 1)[labels][:, :-1]
    for name, far in (("distance from the truth", _far), ("Brier score", _brier)):
        yield name, far(own, truth), far(beside, truth)


def _far(scores: Floats, truth: Floats) -> Floats:
    return 1 - (scores * truth).sum(axis=1)


def _brier(scores: Floats, truth: Floats) -> Floats:
    return ((scores - truth) ** 2).sum(axis=1) / 2


def _renumbered(evidence: Evidence) -> Floats:
    """The live version's probabilities by the candidate's numbers of the classes; 0 for one that it does not know."""
    champion = evidence.champion or evidence.candidate
    scores = evidence.champion_answer.scores
    places = class_indexes(np.array(evidence.candidate.classes, dtype=object), champion.classes)
    found = np.zeros((len(scores), len(places)))
    known = places >= 0
    found[:, known] = scores[:, places[known]]
    return found


def _groups(evidence: Evidence) -> Iterator[tuple[str, NDArray[np.int64]]]:
    labels = evidence.outcomes.labels
    for index, name in enumerate(evidence.candidate.classes):
        rows = np.flatnonzero(labels == index)
        if len(rows) >= _LEAST:
            yield f"class {name}", rows
    labelled = evidence.labelled
    names = [
        name for name in labelled.table.frame.columns if name not in (evidence.policy.label, evidence.policy.subject)
    ]
    for name in names[:_MOST_COLUMNS]:
        parts = groups_of(labelled.table.frame[name][labelled.kept], least_rows=_LEAST)
        big = [(group, rows) for group, rows in parts.items() if _LEAST <= len(rows) < len(labels)]
        for group, rows in big[:_MOST_GROUPS]:
            yield f"{name}={group}", rows
