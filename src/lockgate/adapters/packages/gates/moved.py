"""Whether the tables come from one world, and from the one that is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.evidence import Evidence
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding
from lockgate.adapters.packages.reference import sample_of
from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.baseline import decode
from lockgate.domain.monitoring.drift import check
from lockgate.domain.monitoring.findings import DriftReport
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Manifest

#: Distance between two distributions, or share of values never seen or newly missing, that is no mere swing: another
#: unit, another column, another population.
_FAR = 0.35
_MOST_ROWS = 20_000


def moved_from_training(evidence: Evidence) -> Iterator[Finding]:
    """The holdout's columns beside those of training."""
    if evidence.training is None:
        yield Finding(name="moved from training", verdict=Verdict.PASS, sentence="there are no training rows")
        return
    frame = evidence.features(evidence.candidate)
    yield from _compared("moved from training", evidence, evidence.candidate, frame, "the holdout", "training")


def moved_from_live(evidence: Evidence) -> Iterator[Finding]:
    """The training rows beside those that the live version was trained on, which is the world that is served."""
    champion = evidence.champion
    if champion is None or champion.digest == evidence.candidate.digest:
        yield Finding(name="moved from live", verdict=Verdict.PASS, sentence="nothing else is live yet")
        return
    known = evidence.training or evidence.labelled
    # Only what both take can be compared: a column more or less is the signature's affair.
    names = {column.name for column in champion.signature.inputs}
    if champion.signature.inputs[0].shape or not names <= set(map(str, known.table.frame.columns)):
        yield Finding(name="moved from live", verdict=Verdict.PASS, sentence="the two take different columns")
        return
    frame = evidence.features(champion, known)
    what = "training" if evidence.training else "the holdout"
    yield from _compared("moved from live", evidence, champion, frame, what, "what the live version learned from")


def _compared(
    name: str, evidence: Evidence, manifest: Manifest, frame: DataFrame, what: str, before: str
) -> Iterator[Finding]:
    data = None if manifest.baseline is None else evidence.baseline(manifest)
    if data is None:
        yield Finding(name=name, verdict=Verdict.PASS, sentence="the package has no baseline to compare with")
        return
    profile = Profile.empty(decode(data))
    rows = frame.iloc[sample_of(len(frame), _MOST_ROWS)]
    profile.fold(_columns(manifest, rows), None, None)
    far = _far(check(profile))
    told = "; ".join(f"{column} ({size:.0%} of its values moved)" for column, size in far[:5])
    yield Finding(
        name=name,
        verdict=Verdict.FAIL if far else Verdict.PASS,
        sentence=f"in {what}, {told} {'is' if len(far) == 1 else 'are'} unlike {before}"
        if far
        else f"no column of {what} is far from {before}",
        hint="look for another unit, another column under the same name, or rows of other people" if far else "",
        figures={"moved": {column: rounded(size) for column, size in far}},
    )


def _far(report: DriftReport) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for feature in report.features:
        if feature.verdict is not Verdict.FAIL:
            continue
        sizes = [feature.effect.distance if feature.effect else 0.0]
        sizes += [finding.size for finding in feature.findings if finding.verdict is Verdict.FAIL]
        if max(sizes) >= _FAR:
            found.append((feature.feature, float(max(sizes))))
    return sorted(found, key=lambda item: -item[1])


def _columns(manifest: Manifest, frame: DataFrame) -> dict[str, NDArray[Any]]:
    inputs = manifest.signature.inputs
    if inputs[0].shape:
        return {inputs[0].name: frame.to_numpy(dtype=np.float64)}
    return {column.name: frame[column.name].to_numpy() for column in inputs}
