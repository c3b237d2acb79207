"""Ways in which a model can have known the holdout beforehand, or be told the answer."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.core.util.hashing import hash_pandas_object
from scipy.stats import binom, binomtest

from lockgate.adapters.packages.answers import Floats
from lockgate.adapters.packages.evidence import CannotTell, Evidence, Labelled
from lockgate.adapters.packages.gates.difficulty import losses
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding
from lockgate.adapters.packages.reference import Reference, Rows
from lockgate.base.verdict import Verdict

#: Chance of a false alarm, and share of the rows above what chance gives, before repeated rows count.
_ALPHA, _REPEATED = 1e-4, 0.02
#: Share of the holdout's subjects that may be known from training.
_SUBJECTS = 0.01
#: A column tells too much when alone it loses less than this, and less than this share of what all others lose.
_LOSS, _SHARE = 0.06, 0.3
#: A candidate knows too much when it loses less than this share of what a plain model loses on rows that are new to it.
_BY_HEART = 0.35
_MOST_ROWS = 3_000
_BINS = 20


def repeated_rows(evidence: Evidence) -> Iterator[Finding]:
    """Rows of the holdout that stand in training as well, beyond what repeats by itself among the training rows."""
    known = evidence.training
    if known is None:
        yield Finding(name="repeated rows", verdict=Verdict.PASS, sentence="there are no training rows to compare with")
        return
    here, there = _hashes(evidence, evidence.labelled), _hashes(evidence, known)
    within = _share_with_twin(there)
    both = int(np.isin(here, there).sum())
    share = both / len(here)
    by_chance = float(binom.sf(both - 1, len(here), min(max(within, 1 / len(there)), 1.0)))
    leaked = share > within + _REPEATED and by_chance < _ALPHA
    yield Finding(
        name="repeated rows",
        verdict=Verdict.FAIL if leaked else Verdict.PASS,
        sentence=f"{share:.1%} of the holdout's rows stand in training too, where {within:.1%} have a twin",
        hint="take the holdout's rows out of training" if leaked else "",
        figures={"share": rounded(share), "within": rounded(within)},
    )
    beside = _share_with_twin(here)
    swollen = within > beside + 0.1 and within > 2 * share
    yield Finding(
        name="repeated training rows",
        verdict=Verdict.FAIL if swollen else Verdict.PASS,
        sentence=f"{within:.1%} of the training rows have a twin, {beside:.1%} of the holdout's",
        hint="train on each row once" if swollen else "",
    )


def _hashes(evidence: Evidence, labelled: Labelled) -> NDArray[np.uint64]:
    frame = evidence.features(evidence.candidate, labelled)
    beside: Any = frame.assign(_label=labelled.labels)
    return hash_pandas_object(beside, index=False).to_numpy()


def _share_with_twin(hashes: NDArray[np.uint64]) -> float:
    _, counts = np.unique(hashes, return_counts=True)
    return float(counts[counts > 1].sum() / max(len(hashes), 1))


def known_subjects(evidence: Evidence) -> Iterator[Finding]:
    """People, machines or places of the holdout that the model was trained on."""
    name, known = evidence.policy.subject, evidence.training
    if not name or known is None:
        why = "no column says whose data a row is" if not name else "there are no training rows to compare with"
        yield Finding(name="subjects", verdict=Verdict.PASS, sentence=why)
        return
    frames = (evidence.labelled.table.frame, known.table.frame)
    if any(name not in frame.columns for frame in frames):
        raise CannotTell(f"training and holdout do not both have the column {name!r}, which says whose data a row is")
    here, there = ({str(value) for value in frame[name].dropna().unique()} for frame in frames)
    both = len(here & there)
    share = both / max(len(here), 1)
    bad = share > _SUBJECTS
    yield Finding(
        name="subjects",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"{both:,} of the holdout's {len(here):,} by {name} are in training too; {_SUBJECTS:.0%} is allowed",
        hint=f"split by {name}, so that nobody is on both sides" if bad else "",
        figures={"both": both, "share": rounded(share)},
    )


def known_before(evidence: Evidence, params: dict[str, Any]) -> Iterator[Finding]:
    """``time: COLUMN``: the holdout comes after the training rows."""
    name, known = str(params.get("time", "")), evidence.training
    if not name or known is None:
        yield Finding(name="time", verdict=Verdict.PASS, sentence="no column says when a row is from")
        return
    frames = (evidence.labelled.table.frame, known.table.frame)
    if any(name not in frame.columns for frame in frames):
        raise CannotTell(f"training and holdout do not both have the column {name!r}, which says when a row is from")
    try:
        here, there = (pd.to_datetime(frame[name]) for frame in frames)
    except (ValueError, TypeError) as error:
        raise CannotTell(f"{name} holds something that is no time: {str(error)[:100]}") from error
    early = int((here <= there.max()).sum())
    yield Finding(
        name="time",
        verdict=Verdict.FAIL if early else Verdict.PASS,
        sentence=f"{early:,} of {len(here):,} holdout rows are not later than the last training row ({there.max()})",
        hint="hold out the newest rows" if early else "",
    )


def telling_column(evidence: Evidence) -> Iterator[Finding]:
    """A column that alone tells the label nearly always, and far better than all others together: it was probably
    filled in when the outcome was known."""
    frame, labels = evidence.features(evidence.candidate), evidence.labelled.labels
    classes = len(evidence.candidate.classes)
    kept = np.flatnonzero(labels >= 0) if classes else np.arange(len(labels))
    rows = Rows(frame=frame, labels=labels).take(kept[:_MOST_ROWS])
    if frame.shape[1] < 2 or len(rows) < 50:
        yield Finding(name="telling column", verdict=Verdict.PASS, sentence="there are too few columns or rows to tell")
        return
    told = {str(name): _told(rows.frame[name], rows.labels, classes) for name in rows.frame.columns}
    name = max(told, key=lambda column: told[column])
    spread = float(np.std(rows.labels.astype(np.float64))) or 1.0
    alone = _loss(rows.frame[[name]], rows.labels, classes, spread)
    others = _loss(rows.frame.drop(columns=name), rows.labels, classes, spread)
    bad = alone < _LOSS and alone < _SHARE * others
    yield Finding(
        name="telling column",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"{name} alone loses {alone:.3g} in telling {evidence.policy.label}, all other columns together"
        f" {others:.3g}",
        hint=f"find out when {name} is filled in; leave it out if that is after the outcome is known" if bad else "",
        figures={"column": name, "alone": rounded(alone), "others": rounded(others)},
    )


def _loss(frame: Any, labels: NDArray[Any], classes: int, spread: float) -> float:
    rows = Rows(frame=frame.reset_index(drop=True), labels=labels)
    scores = Reference(rows, None, classes=classes).on_judged
    return float(losses(labels.astype(np.float64), scores, spread).mean())


def _told(series: Any, labels: NDArray[Any], classes: int) -> float:
    """Share of the label's variance between the values, or bins, of one column (the correlation ratio, squared)."""
    if pd.api.types.is_numeric_dtype(series.dtype) and series.nunique() > _BINS:
        ranks = series.rank(pct=True).to_numpy()
        cells = np.nan_to_num(np.floor(ranks * _BINS), nan=-1.0).astype(np.int64) + 1
    else:
        cells = pd.factorize(series)[0] + 1
    targets = np.eye(classes)[labels.astype(np.int64)] if classes else labels.astype(np.float64)[:, None]
    counts = np.bincount(cells)
    between, total = 0.0, 0.0
    for target in targets.T:
        sums = np.bincount(cells, weights=target)
        between += float((sums[counts > 0] ** 2 / counts[counts > 0]).sum() - target.sum() ** 2 / len(target))
        total += float(((target - target.mean()) ** 2).sum())
    return between / total if total > 0 else 0.0


def learned_by_heart(evidence: Evidence, rng: np.random.Generator) -> Iterator[Finding]:
    """A candidate that knows the holdout as well as its training rows, and far better than rows that are new can be
    known, has probably seen it."""
    known = evidence.training
    if known is None:
        yield Finding(name="learned by heart", verdict=Verdict.PASS, sentence="there are no training rows to compare")
        return
    classes = bool(evidence.candidate.classes)
    spread = float(np.std(known.labels.astype(np.float64))) or 1.0
    inside = _own_losses(evidence, known, spread, rng)
    labels = evidence.labelled.labels
    kept = labels >= 0 if classes else np.isfinite(labels.astype(np.float64))
    truth = labels[kept].astype(np.float64)
    here = losses(truth, evidence.answer.scores[kept], spread)
    plain = losses(truth, evidence.reference.on_judged[kept], spread)
    error = sqrt(float(np.var(here)) / len(here) + float(np.var(inside)) / len(inside))
    as_well = float(here.mean() - inside.mean()) <= 2 * error + 1e-9
    better = int((here < plain).sum())
    surely = binomtest(better, len(here), 0.5, alternative="greater").pvalue < _ALPHA
    bad = as_well and surely and float(here.mean()) < _BY_HEART * float(plain.mean())
    yield Finding(
        name="learned by heart",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"it loses {here.mean():.3g} on the holdout and {inside.mean():.3g} on training rows; a plain model"
        f" loses {plain.mean():.3g} on the holdout",
        hint="make sure that no holdout row was trained on" if bad else "",
        figures={
            "holdout": rounded(float(here.mean())),
            "training": rounded(float(inside.mean())),
            "plain": rounded(float(plain.mean())),
        },
    )


def _own_losses(evidence: Evidence, known: Labelled, spread: float, rng: np.random.Generator) -> Floats:
    frame = evidence.features(evidence.candidate, known)
    usable = known.labels >= 0 if evidence.candidate.classes else np.isfinite(known.labels.astype(np.float64))
    rows = np.flatnonzero(usable)
    if len(rows) > _MOST_ROWS:
        rows = np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
    answer = evidence.runner.answer(frame.iloc[rows].reset_index(drop=True))
    return losses(known.labels[rows].astype(np.float64), answer.scores, spread)
