"""The Wisconsin breast cancer data, and the lockgate.yaml of a small model on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.datasets import load_breast_cancer

CONFIG = """
model: {name}
owner: pathology
risk: medium
data:
  training: training.parquet
  holdout: holdout.parquet
  label: malignant
gates:
  - quality: {{metric: roc_auc, at_least: 0.9}}
environments:
  prod:
    approvals: 1
    rollout:
      - {{traffic: 50%, for: 1s}}
"""


def prepare(folder: Path, name: str) -> Path:
    """Write the tables and the lockgate.yaml; gives the file's path."""
    training, holdout = tables()
    training.to_parquet(folder / "training.parquet")
    holdout.to_parquet(folder / "holdout.parquet")
    config = folder / "lockgate.yaml"
    config.write_text(CONFIG.format(name=name), encoding="utf-8")
    return config


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and holdout rows with eight measurements and the label."""
    data: Any = load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = data.frame.drop(columns="target").iloc[:, :8]
    frame.columns = [str(name).replace(" ", "_") for name in frame.columns]
    frame["malignant"] = 1 - data.target
    shuffled = frame.sample(frac=1.0, random_state=1)
    cut = int(len(shuffled) * 0.6)
    return shuffled.iloc[:cut].reset_index(drop=True), shuffled.iloc[cut:].reset_index(drop=True)
