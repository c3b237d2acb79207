"""The gate about what a model goes by: no forbidden column among the ones that matter, and about the same as before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.packages.answers import Answer
from lockgate.adapters.packages.evidence import CannotTell, Evidence, Runner
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding, Look, as_one, look_at
from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest

_MOST_ROWS, _LEAST_ROWS = 2_000, 50
_ROUNDS = 3
_TOP = 5
_RESAMPLES = 400
_CONFIDENCE = 0.95


def judge_explanation(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    """How far answers move when one column is shuffled among the rows tells how much the model goes by it.

    That is permutation importance (Breiman, "Random Forests", 2001) of the answer itself rather than of a loss, so it
    needs no labels. Columns that say the same share it between them, as with any such measure.
    """
    looks: list[tuple[str, Look]] = []
    if params.get("forbidden"):
        looks.append(("forbidden", partial(_forbidden, evidence, params, rng)))
    if "agreement" in params:
        looks.append(("agreement", partial(_agreement, evidence, params, rng)))
    if not looks:
        raise CannotTell("the gate names nothing to look for", hint="say forbidden: [...] or agreement: 0.8")
    found = look_at(looks)
    return as_one("explanation", "", found, nothing="; ".join(finding.sentence for finding in found))


def _forbidden(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> Iterator[Finding]:
    forbidden, top = [str(name) for name in params["forbidden"]], int(params.get("top", _TOP))
    weights = _weights(evidence, evidence.candidate, evidence.runner, rng)
    means = weights.to_numpy(dtype=np.float64).mean(axis=0)
    total = float(means.sum()) or 1.0
    names = [str(name) for name in weights.columns]
    shares = {names[at]: rounded(float(means[at]) / total) for at in np.argsort(-means, kind="stable")}
    order = list(shares)
    present = [name for name in forbidden if name in shares]
    among = [name for name in order[:top] if name in forbidden and shares[name] > 0]
    if among:
        told = ", ".join(f"{name} ({shares[name]:.0%}, place {order.index(name) + 1})" for name in among)
        sentence = f"the model goes by {told}, which it must not"
    elif present:
        sentence = f"none of {', '.join(present)} is among the {top} columns that the model goes by most"
    else:
        sentence = f"the model does not take {', '.join(forbidden)}"
    yield Finding(
        name="forbidden",
        verdict=Verdict.FAIL if among else Verdict.PASS,
        sentence=sentence,
        hint="train without it, and without what stands for it" if among else "",
        figures={"top": top, "forbidden": forbidden, "shares": dict(list(shares.items())[:50])},
    )


def _agreement(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> Iterator[Finding]:
    least = float(params["agreement"])
    champion = evidence.champion
    if champion is None:
        yield Finding(
            name="agreement",
            verdict=Verdict.PASS,
            sentence="nothing is live yet that it could agree with",
            figures={"at_least": least},
        )
        return
    own = _weights(evidence, evidence.candidate, evidence.runner, rng)
    other = _weights(evidence, champion, evidence.champion_runner, rng)
    names = [name for name in own.columns if name in other.columns]
    if len(names) < 3:
        raise CannotTell(f"both versions take only {len(names)} columns, too few to compare what they go by")
    left, right = own[names].to_numpy(dtype=np.float64), other[names].to_numpy(dtype=np.float64)
    found = _rank_correlation(left.mean(axis=0), right.mean(axis=0))
    drawn = [_redrawn(left, right, rng) for _ in range(_RESAMPLES)]
    low, high = (float(np.quantile(drawn, at)) for at in ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2))
    verdict = Verdict.PASS if low >= least else Verdict.FAIL if high < least else Verdict.UNKNOWN
    sentence = (
        f"what it goes by agrees with the live version to {found:.2f} ({low:.2f} to {high:.2f}) by rank;"
        f" at least {least:g} is asked for"
    )
    yield Finding(
        name="agreement",
        verdict=verdict,
        sentence=sentence,
        hint="" if verdict is Verdict.PASS else "see which columns changed places, and whether that is meant",
        figures={
            "agreement": rounded(found),
            "low": rounded(low),
            "high": rounded(high),
            "at_least": least,
            "columns": {
                name: [rounded(float(left[:, at].mean())), rounded(float(right[:, at].mean()))]
                for at, name in enumerate(names[:50])
            },
        },
    )


def _weights(evidence: Evidence, manifest: Manifest, runner: Runner, rng: np.random.Generator) -> pd.DataFrame:
    """How far each row's answer moves when a column is shuffled; a column for each input, rows as judged."""
    frame = evidence.features(manifest)
    if len(frame) < _LEAST_ROWS:
        raise CannotTell(f"{len(frame)} holdout rows are too few; at least {_LEAST_ROWS} are needed")
    if len(frame) > _MOST_ROWS:
        frame = frame.iloc[np.sort(rng.choice(len(frame), _MOST_ROWS, replace=False))].reset_index(drop=True)
    before = _scores(runner.answer(frame))
    moved: dict[str, NDArray[Any]] = {}
    for name in frame.columns:
        rounds: list[NDArray[Any]] = []
        for _ in range(_ROUNDS):
            shuffled = frame.copy()
            shuffled[name] = frame[name].to_numpy()[rng.permutation(len(frame))]
            rounds.append(np.abs(_scores(runner.answer(shuffled)) - before).sum(axis=1))
        moved[str(name)] = np.mean(rounds, axis=0)
    found = pd.DataFrame(moved)
    if not np.isfinite(found.to_numpy()).all():
        raise Invalid("some answers are no numbers, so it cannot be said what they go by")
    return found


def _scores(answer: Answer) -> NDArray[Any]:
    return answer.scores.reshape(len(answer), -1)


def _redrawn(left: NDArray[Any], right: NDArray[Any], rng: np.random.Generator) -> float:
    rows = rng.integers(0, len(left), len(left))
    other = rows if len(left) == len(right) else rng.integers(0, len(right), len(right))
    return _rank_correlation(left[rows].mean(axis=0), right[other].mean(axis=0))


def _rank_correlation(left: NDArray[Any], right: NDArray[Any]) -> float:
    """Spearman's, ties sharing their places; 0 where one side gives every column the same."""
    ranks = [pd.Series(values).rank().to_numpy(dtype=np.float64) for values in (left, right)]
    spreads = [float(values.std()) for values in ranks]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(spreads) else 0.0
