"""The demo's story holds on the real records: nothing in it is staged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skops.io
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from lockgate.demo import data, models
from lockgate.demo.data import Phases, Rows

SEED = 1987
FLOOR = 0.85
MARGIN = 0.01
TRAINERS: Mapping[str, Callable[..., Pipeline]] = {
    "champion": models.train_champion,
    "worse": models.train_worse,
    "careless": models.train_careless,
    "better": models.train_better,
    "repaired": models.train_repaired,
}
TENSORS = {"float32": FloatTensorType, "int64": Int64TensorType, "str": StringTensorType}

each_model = pytest.mark.parametrize("name", list(TRAINERS))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return data.load()


@pytest.fixture(scope="module")
def phases(table: pd.DataFrame) -> Phases:
    return data.split(table, seed=SEED)


@pytest.fixture(scope="module")
def trained(phases: Phases) -> dict[str, Pipeline]:
    return {name: train(phases.training, seed=SEED) for name, train in TRAINERS.items()}


def scores(model: Pipeline, rows: Rows) -> NDArray[np.float64]:
    return np.asarray(model.predict_proba(rows.inputs))[:, 1]


def quality(model: Pipeline, rows: Rows) -> float:
    return float(roc_auc_score(rows.labels, scores(model, rows)))


def worst_likely_gain(candidate: Pipeline, champion: Pipeline, rows: Rows) -> float:
    """The lower end, at 95%, of the candidate's ROC AUC minus the champion's, by paired bootstrap."""
    new, old = scores(candidate, rows), scores(champion, rows)
    dice = np.random.default_rng(0)
    draws = (dice.integers(len(rows), size=len(rows)) for _ in range(200))
    gains = [roc_auc_score(rows.labels[d], new[d]) - roc_auc_score(rows.labels[d], old[d]) for d in draws]
    return float(np.quantile(gains, 0.05))


def gap(one: Any, other: Any) -> float:
    """The Kolmogorov-Smirnov distance."""
    return float(cast(Any, ks_2samp(one, other)).statistic)


def graph_answers(model: Pipeline, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What the same model answers as an ONNX graph fed one tensor a column: labels and probabilities."""
    kinds: list[Any] = [(str(name), TENSORS[str(kind)]([None, 1])) for name, kind in rows.inputs.dtypes.items()]
    graph: Any = to_onnx(model, initial_types=kinds, options={"zipmap": False})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        name: rows.inputs[name].to_numpy(dtype=object if isinstance(kind, StringTensorType) else None).reshape(-1, 1)
        for name, kind in kinds
    }
    labels, probabilities = session.run(None, feeds)
    return np.asarray(labels), np.asarray(probabilities)


def test_no_record_is_in_two_parts(phases: Phases, table: pd.DataFrame) -> None:
    parts = (phases.training, phases.holdout, phases.live_usual, phases.live_shifted)
    everybody = np.concatenate([part.patients for part in parts])
    assert len(set(everybody)) == len(everybody) < len(table) == 9168


def test_models_see_neither_the_label_nor_the_patient(phases: Phases) -> None:
    assert list(phases.live_usual.inputs) == list(data.INPUTS)
    assert not {data.LABEL, data.PATIENT} & set(data.INPUTS)


def test_the_example_and_the_holdout_have_no_gaps_but_live_traffic_has(phases: Phases) -> None:
    assert not models.input_example(phases.training).isna().to_numpy().any()
    assert not phases.holdout.inputs.isna().to_numpy().any()
    assert 0.3 < phases.live_usual.inputs.isna().to_numpy().any(axis=1).mean() < 0.5


@each_model
def test_the_onnx_graph_agrees_with_the_pipeline_on_real_records(
    name: str, trained: dict[str, Pipeline], phases: Phases
) -> None:
    for rows in (phases.holdout, phases.live_usual, phases.live_shifted):
        shown = rows.complete() if name == "careless" else rows
        labels, probabilities = graph_answers(trained[name], shown)
        assert np.array_equal(labels, trained[name].predict(shown.inputs))
        assert np.abs(probabilities - trained[name].predict_proba(shown.inputs)).max() <= 1e-5


@each_model
def test_skops_reads_the_pipeline_back_trusting_only_the_named_types(
    name: str, trained: dict[str, Pipeline], phases: Phases
) -> None:
    again = skops.io.loads(skops.io.dumps(trained[name]), trusted=list(models.TRUSTED_TYPES))
    assert np.array_equal(
        again.predict_proba(phases.holdout.inputs), trained[name].predict_proba(phases.holdout.inputs)
    )


def test_the_worse_candidate_is_below_the_champion_by_more_than_the_margin(
    trained: dict[str, Pipeline], phases: Phases
) -> None:
    assert quality(trained["worse"], phases.holdout) < quality(trained["champion"], phases.holdout) - 5 * MARGIN


@pytest.mark.parametrize("name", ["careless", "better", "repaired"])
def test_the_other_candidates_are_not_inferior_on_the_holdout(
    name: str, trained: dict[str, Pipeline], phases: Phases
) -> None:
    assert worst_likely_gain(trained[name], trained["champion"], phases.holdout) > -MARGIN


def test_the_careless_candidate_answers_nan_for_every_incomplete_live_record_and_only_for_those(
    trained: dict[str, Pipeline], phases: Phases
) -> None:
    labels, probabilities = graph_answers(trained["careless"], phases.live_usual)
    silent = np.isnan(probabilities).any(axis=1)
    assert np.array_equal(silent, phases.live_usual.inputs.isna().to_numpy().any(axis=1))
    assert set(labels[silent]) == {0}, "the graph's label calls them healthy, so only the NaN tells"


@pytest.mark.parametrize("name", ["champion", "better", "repaired"])
def test_usual_traffic_is_served_above_the_floor(name: str, trained: dict[str, Pipeline], phases: Phases) -> None:
    assert quality(trained[name], phases.live_usual) > FLOOR + 0.03


def test_the_shift_sinks_the_better_candidate_and_not_the_champion(
    trained: dict[str, Pipeline], phases: Phases
) -> None:
    assert quality(trained["better"], phases.live_shifted) < FLOOR - 0.04
    assert quality(trained["champion"], phases.live_shifted) > FLOOR + 0.04
    assert quality(trained["repaired"], phases.live_shifted) > FLOOR + 0.10


@pytest.mark.parametrize("column", ["age", "T3", "TT4", "T4U"])
def test_the_shift_shows_in_the_inputs_before_any_label_arrives(column: str, phases: Phases) -> None:
    known, usual, shifted = (
        part.inputs[column].dropna() for part in (phases.training, phases.live_usual, phases.live_shifted)
    )
    assert gap(known, usual) < 0.05
    assert gap(known, shifted) > 0.09


def test_looking_at_one_clinic_alone_tells_the_better_candidate_from_the_repaired_one(
    trained: dict[str, Pipeline], phases: Phases
) -> None:
    clinic = phases.holdout.pick(np.flatnonzero(phases.holdout.inputs["referral_source"] == "SVHC"))
    assert quality(trained["better"], clinic) < quality(trained["champion"], clinic) - 5 * MARGIN
    assert worst_likely_gain(trained["repaired"], trained["champion"], clinic) > -MARGIN


def test_the_same_seed_gives_the_same_model(trained: dict[str, Pipeline], table: pd.DataFrame) -> None:
    phases = data.split(table, seed=SEED)
    again = models.train_better(phases.training, seed=SEED)
    assert np.array_equal(scores(again, phases.live_shifted), scores(trained["better"], phases.live_shifted))
