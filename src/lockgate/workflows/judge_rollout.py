"""Gather what is known of a rollout's present step, and judge it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from lockgate.base.errors import CorruptArtifact, Invalid, NotFound
from lockgate.base.verdict import Verdict
from lockgate.base.window import minute_of
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.records import Version
from lockgate.domain.rollout.experiment import Tally, compare, new_weight
from lockgate.domain.rollout.guard import Judgement, judge
from lockgate.domain.rollout.records import Experiment, Phase, Rollout, Step, StepKind
from lockgate.domain.rollout.rules import current_step, judged_alone, judged_role
from lockgate.domain.routing.table import Role
from lockgate.ports import Label, Labels, Store
from lockgate.workflows.count_profiles import Counts, feature_sum

#: Guards that an experiment has no use for: its versions are meant to answer differently.
_NOT_IN_EXPERIMENTS = "predictions"
#: Newest labels of a version that an experiment looks at; its cost must not grow without end.
_MOST_LABELS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutJudge:
    """Knows what the evidence says of a rollout."""

    store: Store
    counts: Counts
    labels: Labels

    def judge(self, rollout: Rollout, now: datetime) -> tuple[Judgement, ...]:
        """What each guard says of the present step. What cannot be read is unknown, and holds this rollout alone."""
        step = current_step(rollout)
        if step is None or rollout.phase is Phase.SCHEDULED:
            return ()
        try:
            found = self._guards(rollout, step, minute_of(now))
            if step.experiment is not None:
                ours, theirs = self._tallies(rollout, step.experiment, now)
                kept = tuple(each for each in found if each.name != _NOT_IN_EXPERIMENTS)
                return (*kept, compare(ours, theirs, step.experiment))
            return found
        except (Invalid, CorruptArtifact, NotFound) as error:
            sentence = f"the counts cannot be read: {error.message}"
            return (Judgement(name="counts", verdict=Verdict.UNKNOWN, sentence=sentence),)

    def weight(self, rollout: Rollout, now: datetime) -> int | None:
        """The share to go on with where an experiment's shares follow its metric and their time has come, or None."""
        step = current_step(rollout)
        if step is None or step.experiment is None or not step.experiment.bandit:
            return None
        since = rollout.weighed_at or rollout.step_started_at
        if (now - max(since, rollout.step_started_at)).total_seconds() < step.experiment.every:
            return None
        ours, theirs = self._tallies(rollout, step.experiment, now)
        # The same labels give the same share, in whichever process one looks.
        return new_weight(rollout, step, ours, theirs, np.random.default_rng(0))

    def _guards(self, rollout: Rollout, step: Step, minute: int) -> tuple[Judgement, ...]:
        with self.store.reading() as tx:
            candidate = tx.get(Version, rollout.candidate)
            stable = tx.get(Version, rollout.stable) if rollout.stable else None
        # Counts are kept by the minute, so what came earlier in the step's first minute counts too.
        start, end = minute_of(rollout.step_started_at), minute + 2
        own = self._sum(candidate, rollout, judged_role(rollout), start, end)
        if judged_alone(rollout):
            stable = None
        beside = self._sum(stable, rollout, Role.LIVE, start, end) if stable else None
        if own is None or (stable is not None and beside is None):
            sentence = "one of the versions has no baseline, so nothing can be compared"
            return (Judgement(name="baseline", verdict=Verdict.UNKNOWN, sentence=sentence),)
        spec = rollout.strategy.guard
        if step.kind is StepKind.PREVIEW:
            spec = replace(spec, least_samples=step.requests)
        return judge(own, beside, spec)

    def _sum(self, version: Version, rollout: Rollout, role: str, start: int, end: int) -> Profile | None:
        baseline = self.counts.baseline(version)
        if baseline is None:
            return None
        minutes = self.counts.minutes(rollout.endpoint, start, end, version.id)
        return feature_sum([minute for minute in minutes if minute.role == role], baseline)

    def _tallies(self, rollout: Rollout, asked: Experiment, now: datetime) -> tuple[Tally, Tally]:
        start, end = minute_of(rollout.step_started_at), minute_of(now) + 1
        first, second = (
            _tally(self.labels.joined(rollout.endpoint, start, end, version, newest=_MOST_LABELS), asked)
            for version in (rollout.candidate, rollout.stable)
        )
        return first, second


def _tally(labels: list[Label], asked: Experiment) -> Tally:
    if asked.metric == "accuracy":
        usable = [label for label in labels if label.predicted is not None]
        return Tally(successes=sum(label.value == label.predicted for label in usable), labels=len(usable))
    return Tally(successes=sum(label.value == asked.success for label in labels), labels=len(labels))
