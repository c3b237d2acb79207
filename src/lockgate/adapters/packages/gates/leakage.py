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

from lockgate.adapters.packages.answers import Floats, class_name
from lockgate.adapters.packages.evidence import CannotTell, Evidence, Labelled
from lockgate.adapters.packages.gates.difficulty import losses
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding
from lockgate.adapters.packages.reference import Reference, Rows, sample_of
from lockgate.adapters.packages.yardsticks import smooth_answers
from lockgate.base.errors import LockgateError
from lockgate.base.verdict import Verdict

#: Chance of a false alarm, and share of the rows above what chance gives, before repeated rows count.
_ALPHA, _REPEATED = 1e-4, 0.02
#: Part of a column's standard deviation below which two values are the same.
_ROUNDING = 1e-3
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
    steps = _steps(evidence.features(evidence.candidate, known))
    here, there = _hashes(evidence, evidence.labelled, steps), _hashes(evidence, known, steps)
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
    swollen = within > beside + 0.1 and within > 2 * share and not _one_class_repeats(there, known.labels, evidence)
    yield Finding(
        name="repeated training rows",
        verdict=Verdict.FAIL if swollen else Verdict.PASS,
        sentence=f"{within:.1%} of the training rows have a twin, {beside:.1%} of the holdout's",
        hint="train on each row once" if swollen else "",
    )


def _hashes(evidence: Evidence, labelled: Labelled, steps: dict[str, float]) -> NDArray[np.uint64]:
    """One number a row, equal for rows that are the same but for rounding, or for spaces and capitals."""
    frame = evidence.features(evidence.candidate, labelled)
    coarse: Any = pd.DataFrame({str(name): _coarse(frame[name], steps.get(str(name))) for name in frame.columns})
    return hash_pandas_object(coarse.assign(_label=labelled.labels), index=False).to_numpy()


def _coarse(series: Any, step: float | None) -> Any:
    if step is not None:
        return (series.astype("float64") / step).round() + 0.0
    if isinstance(series.dtype, pd.StringDtype) or series.dtype == object:
        return series.astype("str").str.strip().str.casefold()
    return series


def _steps(frame: Any) -> dict[str, float]:
    """For each column of fractions, what is no difference: a thousandth of how much its values differ."""
    found: dict[str, float] = {}
    for name in frame.columns:
        if pd.api.types.is_float_dtype(frame[name].dtype):
            spread = float(frame[name].replace([np.inf, -np.inf], np.nan).std())
            found[str(name)] = spread * _ROUNDING if np.isfinite(spread) and spread > 0 else 1.0
    return found


def _share_with_twin(hashes: NDArray[np.uint64]) -> float:
    _, counts = np.unique(hashes, return_counts=True)
    return float(counts[counts > 1].sum() / max(len(hashes), 1))


def _one_class_repeats(hashes: NDArray[np.uint64], labels: NDArray[Any], evidence: Evidence) -> bool:
    """Whether only some classes were made more by repeating their rows, which is a way to train on rare ones."""
    if not evidence.candidate.classes:
        return False
    shares = [_share_with_twin(hashes[labels == index]) for index in np.unique(labels[labels >= 0])]
    return min(shares) < 0.1 * max(shares)


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
    # One table may hold a number where the other, for a gap somewhere, holds the same with a fraction.
    here, there = ({class_name(value) for value in frame[name].dropna().unique().tolist()} for frame in frames)
    if not here or not there:
        raise CannotTell(f"{name}, which says whose data a row is, is empty in every row of a table")
    both = len(here & there)
    share = both / len(here)
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
    here, there = _times(frames[0][name], name), _times(frames[1][name], name)
    missing = int(here.isna().sum() + there.isna().sum())
    early = int((here <= there.max()).sum())
    verdict = Verdict.FAIL if early else Verdict.UNKNOWN if missing else Verdict.PASS
    gaps = f"; {missing:,} rows of both do not say when they are from" if missing else ""
    hints = {Verdict.FAIL: "hold out the newest rows", Verdict.UNKNOWN: f"fill in {name}, or leave such rows out"}
    yield Finding(
        name="time",
        verdict=verdict,
        sentence=f"{early:,} of {len(here):,} holdout rows are not later than the last training row"
        f" ({there.max()}){gaps}",
        hint=hints.get(verdict, ""),
    )


def _times(series: Any, name: str) -> Any:
    """As moments that can be compared, those without a zone taken as UTC."""
    if not series.notna().any():
        raise CannotTell(f"{name}, which says when a row is from, is empty in every row of a table")
    try:
        return pd.to_datetime(series, utc=True)
    except (ValueError, TypeError) as error:
        raise CannotTell(f"{name} holds something that is no time: {str(error)[:100]}") from error


def telling_column(evidence: Evidence) -> Iterator[Finding]:
    """A column that alone tells the label nearly always, and far better than all others together: it was probably
    filled in when the outcome was known."""
    frame, labels = evidence.features(evidence.candidate), evidence.labelled.labels
    classes = len(evidence.candidate.classes)
    kept = np.flatnonzero(labels >= 0) if classes else np.arange(len(labels))
    # The first rows of a sorted table are no sample of it.
    rows = Rows(frame=frame, labels=labels).take(kept[sample_of(len(kept), _MOST_ROWS)])
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
    plain = min(_others(evidence, kept, truth, spread), key=lambda loss: float(loss.mean()))
    error = sqrt(float(np.var(here)) / len(here) + float(np.var(inside)) / len(inside))
    as_well = float(here.mean() - inside.mean()) <= 2 * error + 1e-9
    better = int((here < plain).sum())
    surely = binomtest(better, len(here), 0.5, alternative="greater").pvalue < _ALPHA
    bad = as_well and surely and float(here.mean()) < _BY_HEART * float(plain.mean())
    yield Finding(
        name="learned by heart",
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        sentence=f"it loses {here.mean():.3g} on the holdout and {inside.mean():.3g} on training rows; the best of"
        f" several models that never saw the holdout loses {plain.mean():.3g} on it",
        hint="make sure that no holdout row was trained on" if bad else "",
        figures={
            "holdout": rounded(float(here.mean())),
            "training": rounded(float(inside.mean())),
            "plain": rounded(float(plain.mean())),
        },
    )


def _others(evidence: Evidence, kept: NDArray[np.bool_], truth: Floats, spread: float) -> Iterator[Floats]:
    """What others lose on the holdout: trees and smooth models of the training rows, and the live version."""
    yield losses(truth, evidence.reference.on_judged[kept], spread)
    learned = evidence.reference.learned
    if learned is not None and len(np.unique(learned.labels)) > 1:
        asked: Any = evidence.features(evidence.candidate)[kept]
        for scores in smooth_answers(learned, asked, classes=len(evidence.candidate.classes)):
            yield losses(truth, scores, spread)
    champion = evidence.champion
    if champion is not None and (champion.task, champion.classes) == (
        evidence.candidate.task,
        evidence.candidate.classes,
    ):
        try:
            yield losses(truth, evidence.champion_answer.scores[kept], spread)
        except LockgateError:
            # It cannot answer these rows; other gates tell of that.
            return


def _own_losses(evidence: Evidence, known: Labelled, spread: float, rng: np.random.Generator) -> Floats:
    frame = evidence.features(evidence.candidate, known)
    usable = known.labels >= 0 if evidence.candidate.classes else np.isfinite(known.labels.astype(np.float64))
    rows = np.flatnonzero(usable)
    if len(rows) > _MOST_ROWS:
        rows = np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
    answer = evidence.runner.answer(frame.iloc[rows].reset_index(drop=True))
    return losses(known.labels[rows].astype(np.float64), answer.scores, spread)
