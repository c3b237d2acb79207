from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.metrics import METRICS
from lockgate.domain.monitoring.outcomes import Outcomes
from lockgate.domain.monitoring.quality import assess, estimate, metric_named


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def binary(rng: np.random.Generator, rows: int, separation: float = 1.5, *, step: float = 0.01) -> Outcomes:
    hits = rng.random(rows) < 0.4
    scores = np.round(1 / (1 + np.exp(-(rng.normal(size=rows) + separation * (hits - 0.5)))) / step) * step
    names = np.array(["no", "yes"])
    return Outcomes(
        labels=names[hits.astype(int)], predicted=names[(scores > 0.5).astype(int)], scores=scores, positive="yes"
    )


def regression(rng: np.random.Generator, rows: int) -> Outcomes:
    labels = rng.normal(10, 3, rows)
    return Outcomes(labels=labels, predicted=labels + rng.normal(0, 1, rows))


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_two_classes_are_scikit_learns(seed: int) -> None:
    rows = binary(np.random.default_rng(seed), 300, step=0.05)
    hits, said, scores = rows.labels == "yes", rows.predicted == "yes", rows.scores
    assert scores is not None
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    expected = {
        "roc_auc": sk.roc_auc_score(hits, scores),
        "average_precision": sk.average_precision_score(hits, scores),
        "accuracy": sk.accuracy_score(rows.labels, rows.predicted),
        "precision": sk.precision_score(hits, said),
        "recall": sk.recall_score(hits, said),
        "f1": sk.f1_score(hits, said),
        "brier": sk.brier_score_loss(hits, scores),
        "log_loss": sk.log_loss(hits, clipped),
    }
    for name, value in expected.items():
        assert METRICS[name].measure(rows) == pytest.approx(value), name


def test_figures_of_many_classes_are_means_over_them(rng: np.random.Generator) -> None:
    labels = rng.choice(["a", "b", "c"], 200)
    predicted = np.where(rng.random(200) < 0.7, labels, rng.choice(["a", "b", "c"], 200))
    rows = Outcomes(labels=labels, predicted=predicted)
    for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        expected = function(labels, predicted, average="macro")
        assert METRICS[name].measure(rows) == pytest.approx(expected)
        found = estimate(METRICS[name], rows, rng)
        assert found is not None
        assert found.low < found.value < found.high


def test_a_class_that_is_never_predicted_or_met_counts_nought() -> None:
    rows = Outcomes(labels=np.array(["a", "b"]), predicted=np.array(["a", "c"]))
    assert [METRICS[name].measure(rows) for name in ("precision", "recall", "f1")] == pytest.approx([1 / 3] * 3)


def test_figures_of_a_regression_are_scikit_learns(rng: np.random.Generator) -> None:
    rows = regression(rng, 200)
    expected = {
        "mae": sk.mean_absolute_error(rows.labels, rows.predicted),
        "rmse": sk.root_mean_squared_error(rows.labels, rows.predicted),
        "r2": sk.r2_score(rows.labels, rows.predicted),
    }
    for name, value in expected.items():
        assert METRICS[name].measure(rows) == pytest.approx(value)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_intervals_hold_the_true_figure_about_as_often_as_they_say(name: str) -> None:
    rng = np.random.default_rng(9)
    make = regression if METRICS[name].regression else binary
    truth = METRICS[name].measure(make(np.random.default_rng(0), 400_000))
    trials = 60
    held = 0
    for _ in range(trials):
        found = estimate(METRICS[name], make(rng, 250), rng)
        assert found is not None
        held += found.low <= truth <= found.high
    # 95 % intervals; 51 of 60 or fewer has a chance of about 1 in 2,000.
    assert held >= 52


def test_a_perfect_order_of_few_rows_is_not_taken_for_certain(rng: np.random.Generator) -> None:
    rows = Outcomes(
        labels=np.array(["no"] * 30 + ["yes"] * 30),
        predicted=np.array(["no"] * 30 + ["yes"] * 30),
        scores=np.arange(60) / 60,
        positive="yes",
    )
    found = estimate(METRICS["roc_auc"], rows, rng)
    assert found is not None
    assert found.value == 1.0
    assert found.low < 0.95


def test_a_good_figure_passes_and_a_hopeless_one_fails(rng: np.random.Generator) -> None:
    rows = binary(rng, 2000)
    good = assess(METRICS["roc_auc"], rows, 0.8, rng)
    bad = assess(METRICS["roc_auc"], rows, 0.95, rng)
    assert (good.verdict, bad.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert "at least 0.95" in bad.sentence
    assert assess(METRICS["log_loss"], rows, 0.1, rng).verdict is Verdict.FAIL
    assert assess(METRICS["log_loss"], rows, 0.9, rng).verdict is Verdict.PASS


def test_a_near_miss_of_few_rows_is_unknown(rng: np.random.Generator) -> None:
    rows = binary(rng, 100)
    value = METRICS["accuracy"].measure(rows)
    found = assess(METRICS["accuracy"], rows, value + 0.02, rng)
    assert found.verdict is Verdict.UNKNOWN
    assert "chance" in found.sentence


def test_too_few_rows_and_one_class_are_unknown(rng: np.random.Generator) -> None:
    rows = binary(rng, 200)
    few = assess(METRICS["roc_auc"], rows.take(np.arange(20)), 0.99, rng)
    one_sided = assess(METRICS["roc_auc"], rows.take(rows.labels == "yes"), 0.99, rng)
    assert (few.verdict, one_sided.verdict) == (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert "50 are needed" in few.sentence
    assert "one class" in one_sided.sentence
    assert assess(METRICS["accuracy"], rows.take(np.arange(0)), 0.9, rng, least_rows=0).verdict is Verdict.UNKNOWN


def test_constant_labels_have_no_r2(rng: np.random.Generator) -> None:
    rows = Outcomes(labels=np.ones(100), predicted=rng.normal(size=100))
    assert estimate(METRICS["r2"], rows, rng) is None


def test_a_metric_that_needs_scores_says_so(rng: np.random.Generator) -> None:
    rows = Outcomes(labels=np.array(["a", "b"]), predicted=np.array(["a", "b"]))
    with pytest.raises(Invalid, match="score"):
        estimate(METRICS["roc_auc"], rows, rng)


def test_arrays_of_different_lengths_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(Invalid, match="length"):
        estimate(METRICS["accuracy"], Outcomes(labels=np.ones(3), predicted=np.ones(2)), rng)


def test_an_unknown_metric_is_refused_with_the_names_there_are() -> None:
    assert metric_named("f1").name == "f1"
    with pytest.raises(Invalid) as refused:
        metric_named("auc_roc")
    assert "roc_auc" in refused.value.hint


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40))
def test_any_outcomes_give_a_verdict(pairs: list[tuple[bool, float]]) -> None:
    labels = np.array([str(hit) for hit, _ in pairs])
    scores = np.array([score for _, score in pairs])
    predicted = np.array([str(score > 0.5) for _, score in pairs])
    rows = Outcomes(labels=labels, predicted=predicted, scores=scores, positive="True")
    for metric in METRICS.values():
        if not metric.regression and metric.name not in ("f1", "average_precision"):
            found = assess(metric, rows, 0.7, np.random.default_rng(0), least_rows=1)
            assert found.sentence
            if found.estimate is not None:
                assert found.estimate.low <= found.estimate.value <= found.estimate.high
