"""A candidate through the real path: logged, packaged, and judged by the policy of production."""

from __future__ import annotations

import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gauntlet import beside
from benchmarks.gauntlet.faults import Made
from benchmarks.gauntlet.tables import LABEL, Table
from benchmarks.gauntlet.training import Split, fit, forest, log, split
from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.lockgate_yaml.policies import default_policy, read_policy
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.base.errors import LockgateError
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import DataConfig, GateSpec, ModelConfig, Policy
from lockgate.domain.gates.policies import auto_metric, policy_for
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest

#: In the default policy: how much worse than the live version a candidate may be.
_USUAL = "margin: 0.02"
#: What it is where the holdout is small. A few hundred rows cannot show a small difference: by the usual margin sound
#: candidates would be told to label more rows, which is right, and nothing to learn from here.
_MARGINS = {"pima": 0.06, "wine": 0.08, "biopsy": 0.03, "progression": 0.12}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of one candidate."""

    table: str
    kind: str
    sound: bool
    #: "refused" before any traffic, or "let through".
    outcome: str
    #: What refused it: packaging, or the gates that did not pass.
    by: tuple[str, ...]
    sentence: str
    seconds: float
    #: Whether MLflow's validation of the same figures lets it through.
    mlflow_passes: bool


class Court:
    """One table, its live version, and candidates for its place."""

    def __init__(self, table: Table, home: Path) -> None:
        self.table = table
        self.split: Split = split(table)
        self._home = home
        self._blobs = DirectoryBlobs(home / "blobs")
        self._workbench = PackageWorkbench(self._blobs)
        champion = Made(
            model=fit(forest(table), self.split.training),
            training=self.split.training,
            holdout=self.split.holdout,
            logged=self.split.training,
        )
        self.champion = self._package(champion, self._files(champion))
        self._figures = beside.figures(table, champion, champion.model)

    def chance(self, kind: str) -> np.random.Generator:
        """Equal for the same table and kind, whatever else was tried."""
        return np.random.default_rng(zlib.crc32(f"{self.table.name}:{kind}".encode()))

    def judge(self, kind: str, made: Made, *, sound: bool) -> Judged:
        """Package and judge."""
        began = time.perf_counter()
        outcome, by, sentence = self._judge(made)
        return Judged(
            table=self.table.name,
            kind=kind,
            sound=sound,
            outcome=outcome,
            by=by,
            sentence=sentence,
            seconds=round(time.perf_counter() - began, 2),
            mlflow_passes=beside.passes(
                beside.figures(self.table, made, made.model), self._figures, _MARGINS.get(self.table.name, 0.02)
            ),
        )

    def _judge(self, made: Made) -> tuple[str, tuple[str, ...], str]:
        files = self._files(made)
        try:
            manifest = self._package(made, files)
        except LockgateError as error:
            return "refused", ("packaging",), error.message
        results = self._workbench.evaluate(self.policy(manifest), manifest, self.champion, files)
        bad = [result for result in results if result.verdict is not Verdict.PASS]
        if not bad:
            return "let through", (), ""
        return "refused", tuple(_named(result) for result in bad), bad[0].sentence

    def policy(self, manifest: Manifest) -> Policy:
        """What production demands: the default policy, with the table's margin."""
        text = default_policy().text
        if _USUAL not in text:
            raise RuntimeError(f"the default policy no longer says {_USUAL!r}")
        margin = _MARGINS.get(self.table.name)
        rules = read_policy(text.replace(_USUAL, f"margin: {margin}")).rules if margin else default_policy().rules
        return policy_for(self.config, "prod", rules=rules, auto=auto_metric(manifest.task, manifest.positive))

    @property
    def config(self) -> ModelConfig:
        """The ``lockgate.yaml`` of the table's team."""
        gates = (GateSpec(kind="latency", params={"p99_ms": 100.0}),)
        return ModelConfig(model=self.table.name, owner="gauntlet", data=DataConfig(label=LABEL), gates=gates)

    def _package(self, made: Made, files: dict[str, Path]) -> Manifest:
        with tempfile.TemporaryDirectory(dir=self._home) as folder:
            into = log(made.model, made.logged, Path(folder) / "model", **made.options)
            if made.beside:
                with (into / "weights.bin").open("wb") as file:
                    file.truncate(made.beside)
            return self._workbench.package(into, files, self.config, {})

    def _files(self, made: Made) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for role, rows in (("training", made.training), ("holdout", made.holdout)):
            known: Any = {id(self.split.training): "t", id(self.split.holdout): "h"}.get(id(rows), "x")
            found[role] = self._home / f"{role}-{known}.parquet"
            if known == "x" or not found[role].exists():
                rows.to_parquet(found[role])
        return found


def _named(result: GateResult) -> str:
    return result.gate if result.verdict is Verdict.FAIL else f"{result.gate}?"
