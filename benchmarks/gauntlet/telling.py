"""The tables that the gauntlet ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from benchmarks.gauntlet import tables
from benchmarks.gauntlet.judging import Judged

#: What is asked for: share of the faulty caught before any traffic, and of the sound refused at most.
CAUGHT, WRONGED = 0.95, 0.01
#: Candidates that were wrongly refused are told singly, so many at most.
_MOST_TOLD = 10

_OPENING = """# The gauntlet

    make gauntlet                                   # all of it, some ten minutes on two cores
    make gauntlet ARGS="--tables pima --sound 5 --no-write"

Candidates with something wrong with them, and candidates as good as what is live, on real data. Each is logged with
MLflow, packaged, and judged by the default policy of production beside a live version: nothing is simulated. Where
the holdout has a few hundred rows, the margin of the regression gate is wider, for so few rows cannot show a small
difference. Beside it stands MLflow's `validate_evaluation_results`, given the live version's figures less the same
margin as thresholds.

What is not in it: candidates that need code of their own to be faulty (nondeterministic, slow, leaking; production
refuses any such package by its form, and `behaviour` and `latency` have tests of their own), what a canary or the
watch would catch of those let through, and Evidently.

The label of `life`, as its package ships it, turned out to be noise: nothing tells it better than a guess does. So
`skill` refuses the candidates that were meant to be sound on it, and rightly; read its rows, and the sums they are part
of, with that in mind.
"""


def page(found: Sequence[Judged], began: datetime, seconds: float) -> tuple[str, bool]:
    """The page as Markdown, and whether the goals were reached."""
    faulty = [one for one in found if not one.sound]
    fine = [one for one in found if one.sound]
    seen = {name for name in tables.NAMES if tables.load(name).seen}
    parts = [
        _OPENING,
        f"Measured {began:%d %B %Y}, Lockgate {version('lockgate')}, scikit-learn {version('scikit-learn')}, MLflow"
        f" {version('mlflow')}; {len(found)} candidates in {seconds / 60:.0f} minutes.\n",
        _summary(faulty, fine, seen),
        _by_kind(faulty),
        _missed(faulty),
        _wronged(fine),
    ]
    caught = sum(one.outcome == "refused" for one in faulty) / max(len(faulty), 1)
    wronged = sum(one.outcome == "refused" for one in fine) / max(len(fine), 1)
    return "\n".join(part for part in parts if part), caught >= CAUGHT and wronged <= WRONGED


def _summary(faulty: Sequence[Judged], fine: Sequence[Judged], seen: set[str]) -> str:
    lines = [
        "| data | faulty | caught before traffic | MLflow | sound | wrongly refused | MLflow |",
        "|---|---|---|---|---|---|---|",
    ]
    groups = [(name, {name}) for name in tables.NAMES]
    groups += [("gates were tuned with these in sight", seen), ("gates never saw these", set(tables.NAMES) - seen)]
    groups.append(("all", set(tables.NAMES)))
    for name, of in groups:
        bad, good = [one for one in faulty if one.table in of], [one for one in fine if one.table in of]
        if bad or good:
            caught = sum(one.outcome == "refused" for one in bad)
            theirs = sum(not one.mlflow_passes for one in bad)
            wronged = sum(one.outcome == "refused" for one in good)
            wronged_there = sum(not one.mlflow_passes for one in good)
            lines.append(
                f"| {name} | {len(bad)} | {_share(caught, len(bad))} | {_share(theirs, len(bad))} | {len(good)}"
                f" | {_share(wronged, len(good))} | {_share(wronged_there, len(good))} |"
            )
    return "\n".join(lines) + f"\n\nGoals: at least {CAUGHT:.0%} caught, at most {WRONGED:.0%} wrongly refused.\n"


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else "–"


def _by_kind(faulty: Sequence[Judged]) -> str:
    lines = ["## By fault", "", "| fault | caught | MLflow | by |", "|---|---|---|---|"]
    for kind in dict.fromkeys(one.kind for one in faulty):
        own = [one for one in faulty if one.kind == kind]
        caught = [one for one in own if one.outcome == "refused"]
        gates = Counter(gate for one in caught for gate in one.by)
        by = ", ".join(f"{gate} {times}" for gate, times in gates.most_common())
        theirs = sum(not one.mlflow_passes for one in own)
        lines.append(f"| {kind} | {len(caught)} of {len(own)} | {theirs} of {len(own)} | {by} |")
    return "\n".join(
        [*lines, "", "A question mark behind a gate: it could not tell, which lets nothing through either.", ""]
    )


def _missed(faulty: Sequence[Judged]) -> str:
    missed = [one for one in faulty if one.outcome != "refused"]
    if not missed:
        return ""
    return "\n".join(["## Let through", "", *(f"- {one.table}: {one.kind}" for one in missed), ""])


def _wronged(fine: Sequence[Judged]) -> str:
    wronged = [one for one in fine if one.outcome == "refused"]
    if not wronged:
        return ""
    told = [f"- {one.table}, {one.kind}: {', '.join(one.by)}: {one.sentence}" for one in wronged[:_MOST_TOLD]]
    if len(wronged) > _MOST_TOLD:
        told.append(f"- and {len(wronged) - _MOST_TOLD} more")
    return "\n".join(["## Wrongly refused", "", *told, ""])
