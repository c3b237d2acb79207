"""What the gates judge by: two packages on the same rows. Everything is worked out once, when a gate first asks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.advisories import Advisories
from lockgate.adapters.packages.answers import Answer, class_indexes, class_name
from lockgate.adapters.packages.build import features_of
from lockgate.adapters.packages.graphs import load_graph
from lockgate.adapters.packages.python_models import PythonModel
from lockgate.adapters.packages.reference import Reference, Rows
from lockgate.adapters.packages.remote_client import remote_runner
from lockgate.adapters.packages.runners import Runners
from lockgate.adapters.packages.tables import Table, present, read_table
from lockgate.base.errors import Invalid, LockgateError
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import AUTO, Policy
from lockgate.domain.gates.policies import auto_metric
from lockgate.domain.monitoring.outcomes import Metric, Outcomes
from lockgate.domain.monitoring.quality import metric_named
from lockgate.domain.registry.manifest import Manifest
from lockgate.ports import Blobs, Secrets

HOLDOUT, TRAINING = "holdout", "training"


class Runner(Protocol):
    """Knows how to answer rows: a graph in this process, or a model in its own."""

    def feeds(self, frame: DataFrame) -> dict[str, Any]:
        """Rows as `run` takes them."""
        ...

    def run(self, feeds: dict[str, Any]) -> Answer:
        """Predict; raises Invalid when it refuses the rows."""
        ...

    def answer(self, frame: DataFrame) -> Answer:
        """`feeds`, then `run`."""
        ...

    def memory(self) -> int | None:
        """Bytes that its process holds; None where it answers in this one, or elsewhere."""
        ...


class CannotTell(LockgateError):
    """There is not enough to judge by"""

    code = "cannot_tell"
    verdict = Verdict.UNKNOWN


class PlainlyBad(CannotTell):
    """The model fails before any figure is worked out"""

    code = "plainly_bad"
    verdict = Verdict.FAIL


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Rows with the truth."""

    table: Table
    #: Rows of the table whose label is present, shape (rows,).
    kept: NDArray[np.bool_]
    #: Classification: index of the class, -1 for one the candidate does not know. Regression: the value.
    labels: NDArray[Any]


class Evidence:
    """A candidate, perhaps a champion, and the rows to judge them on."""

    def __init__(
        self,
        policy: Policy,
        candidate: Manifest,
        champion: Manifest | None,
        data: Mapping[str, Path],
        blobs: Blobs,
        runners: Runners | None = None,
        secrets: Secrets | None = None,
        advisories: Path | None = None,
    ) -> None:
        self._advisories = advisories
        self.policy = policy
        self.candidate = candidate
        self.champion = champion
        self._data = data
        self._blobs = blobs
        self._runners = runners
        self._secrets = secrets
        self._opened = ExitStack()

    def close(self) -> None:
        """End the processes that were started to answer."""
        self._opened.close()

    @property
    def in_python(self) -> bool:
        """Whether the candidate's own model answers, in a process that can be started here."""
        return self.candidate.lane == "python" and self._runners is not None

    @cached_property
    def runner(self) -> Runner:
        """What answers for the candidate; raises NotServable, CorruptArtifact."""
        return self._runner_of(self.candidate)

    def baseline(self, manifest: Manifest) -> bytes | None:
        """What a package's training data looked like, as it is kept; None where it has none."""
        return None if manifest.baseline is None else self._blobs.get(manifest.baseline)

    def path(self, role: str) -> Path | None:
        """Where a table lies; None where there is none of that role."""
        return self._data.get(role)

    @cached_property
    def champion_runner(self) -> Runner:
        """What answers for the live version; raises as `runner`, and CannotTell where nothing is live."""
        if self.champion is None:
            raise CannotTell("nothing is live yet")
        return self._runner_of(self.champion)

    @property
    def has_advisories(self) -> bool:
        """Whether somebody gave a list of vulnerable requirements."""
        return self._advisories is not None

    @cached_property
    def advisories(self) -> Advisories | None:
        """What is known of vulnerable requirements; None where nobody gave a list. Raises Invalid for a broken one."""
        return None if self._advisories is None else Advisories(self._advisories)

    def file(self, name: str) -> Path:
        """Where one file of the candidate lies; raises NotFound, CorruptArtifact."""
        return self._blobs.path(self.candidate.files[name].digest)

    def another_runner(self) -> Runner:
        """The candidate opened a second time, beside `runner`; raises as it."""
        return self._runner_of(self.candidate)

    def _runner_of(self, manifest: Manifest) -> Runner:
        if manifest.lane == "upstream" and self._secrets is not None:
            return self._opened.enter_context(remote_runner(manifest, self._blobs, self._secrets))
        if manifest.lane != "python" or self._runners is None:
            return load_graph(manifest, self._blobs)
        model = PythonModel(self._runners.open_package(manifest), manifest.task, manifest.classes)
        self._opened.callback(model.close)
        return model

    @cached_property
    def table(self) -> Table:
        """The holdout; raises CannotTell without one, Invalid when it cannot be read."""
        path = self._data.get(HOLDOUT)
        if path is None:
            raise CannotTell("there is no holdout data", hint="name it in lockgate.yaml under data.holdout")
        return read_table(path, HOLDOUT)

    @cached_property
    def labelled(self) -> Labelled:
        """The holdout's rows that have a label."""
        return self._labelled(self.table)

    @cached_property
    def training(self) -> Labelled | None:
        """The training rows that have a label; None where there are none. Raises Invalid when they cannot be read."""
        path = self._data.get(TRAINING)
        if path is None or not self.policy.label:
            return None
        table = read_table(path, TRAINING)
        return self._labelled(table) if len(table) and self.policy.label in table.frame.columns else None

    def _labelled(self, table: Table) -> Labelled:
        name = self.policy.label
        if not name:
            raise CannotTell("nothing says which column is the label", hint="name it in lockgate.yaml, data.label")
        if not len(table):
            raise CannotTell(f"the {table.role} data has no row")
        if name not in table.frame.columns:
            known = ", ".join(str(column) for column in table.frame.columns)[:300]
            raise CannotTell(f"the {table.role} data has no label column {name!r}", hint=f"its columns are {known}")
        series: Any = table.frame[name]
        kept = present(series)
        if not kept.any():
            raise CannotTell(f"the label column {name!r} is empty in every row of the {table.role} data")
        return Labelled(table=table, kept=kept, labels=self._labels(series[kept]))

    @cached_property
    def answer(self) -> Answer:
        """What the candidate says of the holdout's rows with a label, all of it numbers."""
        return self._answer(self.candidate, self.runner, "the candidate")

    @cached_property
    def outcomes(self) -> Outcomes:
        """The candidate's predictions beside the labels."""
        return self._paired(self.candidate, self.answer)

    @cached_property
    def champion_answer(self) -> Answer:
        """The champion's answer to the same rows in the same order, its classes in its own order."""
        if self.champion is None:
            raise CannotTell("nothing is live yet")
        if self.champion.task != self.candidate.task:
            raise PlainlyBad(f"the live version does {self.champion.task}, and this one {self.candidate.task}")
        return self._answer(self.champion, self.champion_runner, "the live version")

    @cached_property
    def champion_outcomes(self) -> Outcomes:
        """The champion's predictions, by the candidate's numbers of the classes."""
        answer = self.champion_answer
        return self._paired(self.champion or self.candidate, answer)

    def metric(self, params: Mapping[str, Any]) -> Metric:
        """The metric a gate names; raises Invalid for an unknown one, or one for the other task."""
        if self.candidate.task not in ("classification", "regression"):
            raise CannotTell(
                "the model answers neither classes nor one number a row, and no metric measures anything else",
                hint="have it answer with one number, or leave this gate out for its environments",
            )
        name = str(params.get("metric", AUTO))
        metric = metric_named(auto_metric(self.candidate.task, self.candidate.positive) if name == AUTO else name)
        name = metric.name
        if metric.regression is not (self.candidate.task == "regression"):
            raise Invalid(
                f"{name} does not measure a {self.candidate.task}", hint="choose a metric of the model's task"
            )
        if metric.needs_score and self.candidate.positive is None:
            raise Invalid(f"{name} is for two classes, and the model has {len(self.candidate.classes)}")
        return metric

    @cached_property
    def reference(self) -> Reference:
        """A plain model of the same rows, to see by what the data are worth."""
        known = self.training
        learned = None if known is None else Rows(frame=self.features(self.candidate, known), labels=known.labels)
        judged = Rows(frame=self.features(self.candidate), labels=self.labelled.labels)
        return Reference(judged, learned, classes=len(self.candidate.classes))

    def features(self, manifest: Manifest, labelled: Labelled | None = None) -> DataFrame:
        """Rows with a label, the holdout's by default, as a package takes them; raises Invalid when columns are
        missing."""
        labelled = labelled or self.labelled
        beside = (self.policy.label, self.policy.subject)
        frame: Any = features_of(labelled.table, manifest.signature.inputs, leave_out=beside)
        return frame[labelled.kept].reset_index(drop=True)

    def _answer(self, manifest: Manifest, runner: Runner, who: str) -> Answer:
        answer = runner.answer(self.features(manifest))
        broken = int((~np.isfinite(answer.scores.reshape(len(answer), -1)).all(axis=1)).sum())
        if broken:
            raise PlainlyBad(
                f"{who} answers {broken} of {len(answer)} holdout rows with something that is no number",
                hint="look at rows with missing or extreme values",
            )
        return answer

    def _paired(self, manifest: Manifest, answer: Answer) -> Outcomes:
        labels = self.labelled.labels
        if answer.picked is None:
            return Outcomes(labels=labels, predicted=answer.scores)
        # The champion may count its classes in another order.
        renumber = class_indexes(np.array(manifest.classes, dtype=object), self.candidate.classes)
        predicted = np.where(answer.picked >= 0, renumber[answer.picked], -2)
        positive = self.candidate.positive
        if positive is None or positive not in manifest.classes:
            return Outcomes(labels=labels, predicted=predicted)
        scores = answer.scores[:, manifest.classes.index(positive)]
        index = self.candidate.classes.index(positive)
        return Outcomes(labels=labels, predicted=predicted, scores=scores, positive=index)

    def _labels(self, series: Any) -> NDArray[Any]:
        if self.candidate.task == "regression":
            try:
                return series.to_numpy(dtype=np.float64)
            except (ValueError, TypeError) as error:
                raise CannotTell(f"the label column {self.policy.label!r} holds no numbers: {error}") from error
        labels = class_indexes(series.to_numpy(), self.candidate.classes)
        if (labels < 0).all():
            seen = ", ".join(sorted({class_name(value) for value in series.to_numpy()})[:5])
            raise CannotTell(
                f"the label column {self.policy.label!r} holds {seen}, and the model's classes are"
                f" {', '.join(self.candidate.classes)}"
            )
        return labels
