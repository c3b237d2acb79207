"""Whether the holdout's rows are as hard, and of the same classes, as the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence, Labelled
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding
from lockgate.adapters.packages.gates.limits import LEAST_ROWS
from lockgate.adapters.packages.reference import sample_of
from lockgate.base.verdict import Verdict

#: Standard errors apart, and share of the smaller loss, before a difference counts.
_ERRORS, _SHARE, _LEAST = 4.0, 0.5, 0.03
#: Chance of a false alarm, and share of the rows that moved to another class, of the comparison of labels.
_ALPHA, _MOVED = 1e-4, 0.15
#: Distance between two distributions of one column within one class before it counts, rows that are looked at, and the
#: fewest of a class.
_FAR, _MOST_ROWS, _LEAST_OF_CLASS = 0.2, 5_000, 30


def losses(labels: Floats, scores: Floats, spread: float) -> Floats:
    """A loss a row, shape (rows,): one minus the probability of the true class, or squared error over the spread's."""
    if scores.ndim == 1:
        return (labels - scores) ** 2 / spread**2
    return 1 - scores[np.arange(len(labels)), labels.astype(np.int64)]


def equally_hard(evidence: Evidence) -> Iterator[Finding]:
    """A plain model of the training rows must not find rows it has not seen much easier among them than in the holdout,
    nor much harder: rows that repeat make them easy, labels that are wrong make them hard."""
    reference = evidence.reference
    inside, learned = reference.on_learned, reference.learned
    if inside is None or learned is None:
        yield Finding(name="equally hard", verdict=Verdict.PASS, sentence="there are no training rows to compare with")
        return
    labels = evidence.labelled.labels
    kept = labels >= 0 if evidence.candidate.classes else np.isfinite(labels.astype(np.float64))
    if min(len(learned), int(kept.sum())) < LEAST_ROWS:
        raise CannotTell(f"there are fewer than {LEAST_ROWS} labelled rows to compare", hint="label more rows")
    spread = float(np.std(learned.labels.astype(np.float64))) or 1.0
    there = _mistakes(learned.labels.astype(np.float64), inside, spread)
    here = _mistakes(labels[kept].astype(np.float64), reference.on_judged[kept], spread)
    apart = float(there.mean() - here.mean())
    error = sqrt(float(np.var(there)) / len(there) + float(np.var(here)) / len(here))
    limit = max(_LEAST, _SHARE * min(float(there.mean()), float(here.mean())), _ERRORS * error)
    told = f"a plain model is off by {there.mean():.3g} on unseen training rows and {here.mean():.3g} on the holdout"
    bad = abs(apart) > limit
    hint = (
        "look for wrong labels among the training rows"
        if apart > 0
        else "look for rows that repeat in training, or for a holdout from elsewhere"
    )
    yield Finding(
        name="equally hard",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"{told}; {limit:.3g} apart is allowed",
        hint=hint if bad else "",
        figures={"training": rounded(float(there.mean())), "holdout": rounded(float(here.mean()))},
    )


def _mistakes(labels: Floats, scores: Floats, spread: float) -> Floats:
    # Wrong labels make a model unsure everywhere, but wrong only where they are.
    if scores.ndim == 1:
        return losses(labels, scores, spread)
    return (scores.argmax(axis=1) != labels).astype(np.float64)


def labels_alike(evidence: Evidence) -> Iterator[Finding]:
    """The classes of the holdout: more than one, all known to the model, and in shares like those of training."""
    if not evidence.candidate.classes:
        yield Finding(name="labels", verdict=Verdict.PASS, sentence="the label is a number")
        return
    classes = len(evidence.candidate.classes)
    labels = evidence.labelled.labels
    strange = int((labels < 0).sum())
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    if strange:
        yield Finding(
            name="unknown classes",
            verdict=Verdict.FAIL,
            sentence=f"{strange:,} holdout rows are of a class that the model does not know",
            hint="train it on every class there is",
        )
    if (counts > 0).sum() < 2:
        yield Finding(
            name="one class",
            verdict=Verdict.FAIL,
            sentence="all holdout rows are of one class, so no figure tells anything",
            hint="hold out rows of every class",
        )
        return
    yield from _shares(evidence, counts, classes)


def _shares(evidence: Evidence, counts: NDArray[np.intp], classes: int) -> Iterator[Finding]:
    known = evidence.training
    if known is None:
        yield Finding(name="labels", verdict=Verdict.PASS, sentence="there are no training rows to compare with")
        return
    before = np.bincount(known.labels[known.labels >= 0], minlength=classes)
    table = np.stack([before, counts])[:, (before + counts) > 0]
    moved = float(np.abs(before / max(before.sum(), 1) - counts / counts.sum()).sum() / 2)
    tested: Any = chi2_contingency(table) if table.shape[1] > 1 and before.sum() else None
    chance = 0.0 if tested is None else float(tested.pvalue)
    bad = moved > _MOVED and chance < _ALPHA
    told = f"{moved:.1%} of the holdout's rows would have to change class to be shared out as in training"
    if bad and not _other_rows(evidence, known):
        told = f"{told}, and within each class the rows are alike, as when classes are drawn in shares of their own"
        bad = False
    yield Finding(
        name="labels",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"{told}; {_MOVED:.0%} is allowed",
        hint="draw training and holdout rows from the same days and places" if bad else "",
        figures={"moved": rounded(moved)},
    )


def _other_rows(evidence: Evidence, known: Labelled) -> bool:
    """Whether some column lies elsewhere in the holdout than in training *within a class*.

    It does not when rare classes were drawn more often for training, or are more frequent now: then the holdout still
    tells how good the model is. Kolmogorov-Smirnov by column and class, chance shared out over all of them.
    """
    here, there = evidence.features(evidence.candidate), evidence.features(evidence.candidate, known)
    apart: list[tuple[float, float]] = []
    for index in range(len(evidence.candidate.classes)):
        one = here[evidence.labelled.labels == index]
        other = there[known.labels == index]
        one, other = (frame.iloc[sample_of(len(frame), _MOST_ROWS)] for frame in (one, other))
        if min(len(one), len(other)) < _LEAST_OF_CLASS:
            # Too few to see any difference: it cannot be said that they are alike.
            apart.append((1.0, 0.0) if max(len(one), len(other)) >= _LEAST_OF_CLASS else (0.0, 1.0))
            continue
        apart += [_apart(one[name], other[name]) for name in here.columns]
    return any(size > _FAR and chance < _ALPHA / len(apart) for size, chance in apart)


def _apart(one: Any, other: Any) -> tuple[float, float]:
    """How far the values of two columns lie apart, 0 to 1, and the chance of that when they are from one place."""
    if pd.api.types.is_numeric_dtype(one.dtype):
        sides = [np.nan_to_num(np.asarray(side, dtype=np.float64), nan=-np.inf) for side in (one, other)]
    else:
        codes, _ = pd.factorize(pd.concat([one, other]))
        counts = np.stack([np.bincount(part, minlength=codes.max() + 2) for part in np.split(codes + 1, [len(one)])])
        counts = counts[:, counts.sum(axis=0) > 0]
        size = float(np.abs(counts[0] / len(one) - counts[1] / len(other)).sum() / 2)
        tested: Any = chi2_contingency(counts) if counts.shape[1] > 1 else None
        return size, 1.0 if tested is None else float(tested.pvalue)
    found: Any = ks_2samp(sides[0], sides[1])
    return float(found.statistic), float(found.pvalue)
