"""the gates of production on a candidate of 100,000 rows and 50 features"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.datasets import make_classification

from benchmarks.figures import console, show
from benchmarks.gauntlet.tables import LABEL
from benchmarks.gauntlet.training import log
from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.lockgate_yaml.policies import default_policy
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.domain.gates.config import DataConfig, ModelConfig
from lockgate.domain.gates.policies import policy_for
from lockgate.domain.registry.manifest import Manifest

#: Seconds that all gates together may take on two cores.
GOAL = 60.0


def main() -> int:
    """Package a candidate and a champion, judge the one beside the other, and tell the seconds of each gate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of training and holdout together")
    parser.add_argument("--features", type=int, default=50)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    values, labels = make_classification(asked.rows, asked.features, n_informative=20, random_state=3)
    names = [f"f{index}" for index in range(asked.features)]
    frame: Any = pd.DataFrame(values, columns=pd.Index(names))
    frame[LABEL] = labels
    training, holdout = frame[: asked.rows // 2], frame[asked.rows // 2 :].reset_index(drop=True)
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        return _judged(Path(folder), training, holdout, names)


def _judged(home: Path, training: Any, holdout: Any, names: list[str]) -> int:
    files = {"training": home / "training.parquet", "holdout": home / "holdout.parquet"}
    training.to_parquet(files["training"])
    holdout.to_parquet(files["holdout"])
    config = ModelConfig(model="wide", owner="bench", data=DataConfig(label=LABEL))
    workbench = PackageWorkbench(DirectoryBlobs(home / "blobs"), progress=console.print)
    manifests: list[Manifest] = []
    for seed in (1, 2):
        model: Any = LGBMClassifier(
            n_estimators=100, verbose=-1, random_state=seed, bagging_fraction=0.9, bagging_freq=1
        )
        model.fit(training[names], training[LABEL])
        manifests.append(workbench.package(log(model, training, home / f"model-{seed}"), files, config, {}))
    policy = policy_for(config, "prod", rules=default_policy().rules, auto="roc_auc")
    began = time.perf_counter()
    results = workbench.evaluate(policy, manifests[1], manifests[0], files)
    seconds = time.perf_counter() - began
    rows = [(result.gate, result.verdict.value, f"{result.seconds:.2f}") for result in results]
    rows.append(("all", "", f"{seconds:.1f}"))
    note = f"At most {GOAL:g} s is asked for."
    show("The gates of production", ("gate", "verdict", "seconds"), rows, note=note)
    return int(seconds > GOAL)


if __name__ == "__main__":
    sys.exit(main())
