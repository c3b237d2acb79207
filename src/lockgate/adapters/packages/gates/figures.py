"""Numbers for the page that shows a gate's result; JSON values all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockgate.domain.monitoring.outcomes import Outcomes
from lockgate.domain.monitoring.quality import Estimate

_MOST_POINTS = 100
_BINS = 10


def of_estimate(found: Estimate | None) -> dict[str, Any]:
    """Value and interval; nothing where there is none, and no interval end that is infinite."""
    if found is None:
        return {}
    ends = {"low": found.low, "high": found.high}
    return {
        "value": rounded(found.value),
        "rows": found.rows,
        **{name: rounded(end) for name, end in ends.items() if np.isfinite(end)},
    }


def of_outcomes(outcomes: Outcomes) -> dict[str, Any]:
    """What there is to plot: ROC, calibration and confusion for two classes; predicted against true for numbers."""
    if outcomes.positive is None:
        regression = outcomes.labels.dtype.kind == "f"
        return {"predicted_against_true": _deciles(outcomes)} if regression else {}
    hits = outcomes.labels == outcomes.positive
    said = outcomes.predicted == outcomes.positive
    found: dict[str, Any] = {
        "confusion": {
            "true_positive": int((hits & said).sum()),
            "false_positive": int((~hits & said).sum()),
            "false_negative": int((hits & ~said).sum()),
            "true_negative": int((~hits & ~said).sum()),
        }
    }
    if outcomes.scores is not None and hits.any() and not hits.all():
        found["roc"] = _roc(outcomes.scores, hits)
        found["calibration"] = _calibration(outcomes.scores, hits)
    return found


def rounded(value: float) -> float:
    """Six digits are more than any sample can tell."""
    return float(f"{value:.6g}")


def _roc(scores: Any, hits: Any) -> list[list[float]]:
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    good = np.concatenate([[0], np.cumsum(hits[order])[last]]) / hits.sum()
    bad = np.concatenate([[0], np.cumsum(~hits[order])[last]]) / (~hits).sum()
    kept = np.unique(np.linspace(0, len(good) - 1, min(len(good), _MOST_POINTS)).round().astype(int))
    return [[rounded(x), rounded(y)] for x, y in zip(bad[kept], good[kept], strict=True)]


def _calibration(scores: Any, hits: Any) -> list[dict[str, float]]:
    place = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
    return [
        {
            "predicted": rounded(float(scores[place == index].mean())),
            "observed": rounded(float(hits[place == index].mean())),
            "rows": int((place == index).sum()),
        }
        for index in range(_BINS)
        if (place == index).any()
    ]


def _deciles(outcomes: Outcomes) -> list[list[float]]:
    order = np.argsort(outcomes.predicted, kind="stable")
    parts = np.array_split(order, min(_BINS, len(order)))
    return [
        [rounded(float(outcomes.predicted[part].mean())), rounded(float(outcomes.labels[part].mean()))]
        for part in parts
    ]
