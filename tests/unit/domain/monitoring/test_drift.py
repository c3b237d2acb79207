from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import signal, stats

from lockgate.base.verdict import Verdict
from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.components import Floats
from lockgate.domain.monitoring.drift import check
from lockgate.domain.monitoring.effect import psi, wasserstein
from lockgate.domain.monitoring.findings import DriftSpec, DriftTest, FeatureDrift
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.monitoring.swing import swing
from lockgate.domain.registry.manifest import Column, Kind, Signature

Window = Callable[..., Profile]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def of(found: tuple[FeatureDrift, ...], name: str) -> FeatureDrift:
    return next(item for item in found if item.feature == name)


def failing(item: FeatureDrift) -> set[DriftTest]:
    return {finding.test for finding in item.findings if finding.verdict is Verdict.FAIL}


def one_number(values: Any, now: Any, spec: DriftSpec | None = None) -> FeatureDrift:
    column = Column(name="x", kind=Kind.NUMBER, datatype="FP64")
    profile = Profile.empty(build({"x": np.asarray(values)}, Signature(inputs=(column,), outputs=())))
    profile.fold({"x": np.asarray(now)})
    return check(profile, spec or DriftSpec()).features[0]


def test_false_alarms_are_rarer_than_one_window_in_a_hundred(window: Window) -> None:
    rng = np.random.default_rng(2026)
    alarms = sum(check(window(rng, 1000)).verdict is Verdict.FAIL for _ in range(300))
    # 0.85 % at most by design; more than 9 of 300 has a chance under 1 in 1,000 then.
    assert alarms <= 9


def test_a_quarter_standard_deviation_is_found_in_a_thousand_rows(window: Window) -> None:
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(40):
        report = check(window(rng, 1000, age=rng.normal(52.5, 10, 1000)))
        found += any(item.feature == "age" for item in report.drifted)
    assert found >= 38


def test_a_wider_spread_is_found_although_the_mean_stands_still(window: Window, rng: np.random.Generator) -> None:
    report = check(window(rng, 1000, age=rng.normal(50, 13, 1000)))
    assert [item.feature for item in report.drifted] == ["age"]


def test_the_sentence_tells_feature_and_figures(window: Window, rng: np.random.Generator) -> None:
    report = check(window(rng, 1000, age=rng.normal(60, 10, 1000)))
    assert report.verdict is Verdict.FAIL
    assert "age" in report.sentence
    item = of(report.features, "age")
    assert item.effect is not None
    assert item.effect.shift == pytest.approx(1.0, abs=0.1)
    assert item.effect.mean_before == pytest.approx(50, abs=0.3)
    assert "mean went from 49.9" in item.sentence
    assert "1,000 rows" in item.sentence


def test_shares_of_categories_are_compared(window: Window, rng: np.random.Generator) -> None:
    sex = rng.choice(np.array(["F", "M"], dtype=object), 1000, p=[0.5, 0.5])
    smoker = rng.random(1000) < 0.45
    report = check(window(rng, 1000, sex=sex, smoker=smoker))
    assert {item.feature for item in report.drifted} == {"sex", "smoker"}
    item = of(report.features, "sex")
    assert item.effect is not None
    assert item.effect.distance == pytest.approx(0.15, abs=0.05)


def test_an_unseen_category_is_found(window: Window, rng: np.random.Generator) -> None:
    sex = rng.choice(np.array(["F", "M", "X"], dtype=object), 1000, p=[0.64, 0.34, 0.02])
    item = of(check(window(rng, 1000, sex=sex)).features, "sex")
    assert item.unseen > 0
    assert DriftTest.UNSEEN in failing(item)


def test_more_missing_values_are_found(window: Window, rng: np.random.Generator) -> None:
    ages = rng.normal(50, 10, 1000)
    ages[:40] = np.nan
    item = of(check(window(rng, 1000, age=ages)).features, "age")
    assert failing(item) == {DriftTest.MISSING}
    assert item.missing_share == 0.04


def test_values_outside_the_range_of_a_constant_column_are_found(rng: np.random.Generator) -> None:
    item = one_number(np.full(5000, 2020.0), np.full(500, 2021.0))
    assert item.verdict is Verdict.FAIL
    assert failing(item) == {DriftTest.OUT_OF_RANGE}
    assert one_number(np.full(5000, 2020.0), np.full(500, 2020.0)).verdict is Verdict.PASS


def test_a_rare_flag_that_becomes_common_is_found(rng: np.random.Generator) -> None:
    item = one_number(rng.random(20_000) < 0.006, (rng.random(1000) < 0.04).astype(float))
    assert failing(item) == {DriftTest.DISTRIBUTION}


def test_an_empty_column_that_stays_empty_passes_and_one_that_fills_fails() -> None:
    empty = np.full(500, np.nan)
    assert one_number(empty, empty).verdict is Verdict.PASS
    assert one_number(empty, np.ones(500)).verdict is Verdict.FAIL


def test_a_column_with_hardly_any_values_is_told_to_be_untestable() -> None:
    sparse = np.full(2000, np.nan)
    sparse[:20] = np.arange(20)
    item = one_number(sparse, sparse[:1000])
    assert item.verdict is Verdict.UNKNOWN
    assert "cannot be tested" in item.sentence


def test_free_text_is_told_to_be_untestable() -> None:
    column = Column(name="note", kind=Kind.TEXT, datatype="BYTES")
    texts = np.array([f"note {index}" for index in range(2000)], dtype=object)
    profile = Profile.empty(build({"note": texts}, Signature(inputs=(column,), outputs=())))
    profile.fold({"note": texts[:500]})
    report = check(profile)
    assert report.verdict is Verdict.UNKNOWN
    assert [item.feature for item in report.untestable] == ["note"]
    assert "note" in report.sentence


def test_rare_categories_met_before_their_kind_do_not_alarm(rng: np.random.Generator) -> None:
    # A long tail: every window brings some value that training happened not to have.
    column = Column(name="code", kind=Kind.TEXT, datatype="BYTES")
    codes = np.array([f"c{index}" for index in range(2000)], dtype=object)
    weights = 1 / np.arange(1, 2001) ** 2
    share = weights / weights.sum()
    found = build({"code": rng.choice(codes, 3000, p=share)}, Signature(inputs=(column,), outputs=()))
    alarms = 0
    for _ in range(40):
        profile = Profile.empty(found)
        profile.fold({"code": rng.choice(codes, 500, p=share)})
        alarms += check(profile).verdict is Verdict.FAIL
    assert alarms <= 1


def test_predictions_are_watched_like_inputs(window: Window, rng: np.random.Generator) -> None:
    report = check(window(rng, 1000, scores=rng.beta(4, 3, 1000)))
    assert {item.feature for item in report.drifted} == {"prediction", "predicted class"}
    assert all(item.verdict is Verdict.PASS for item in report.features)


def test_a_tiny_difference_over_very_many_rows_does_not_alarm(rng: np.random.Generator) -> None:
    reference, now = rng.normal(size=300_000), rng.normal(0.03, 1, 300_000)
    item = one_number(reference, now)
    finding = next(found for found in item.findings if found.test is DriftTest.DISTRIBUTION)
    assert finding.p < 0.005
    assert finding.verdict is Verdict.PASS
    assert one_number(reference, now, DriftSpec(least_distance=0.001)).verdict is Verdict.FAIL


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_too_few_rows_are_unknown_and_say_how_many_it_takes(window: Window, rows: int) -> None:
    report = check(window(np.random.default_rng(0), rows))
    assert report.verdict is Verdict.UNKNOWN
    assert "100" in report.sentence


def test_a_small_training_set_is_unknown() -> None:
    column = Column(name="x", kind=Kind.NUMBER, datatype="FP64")
    profile = Profile.empty(build({"x": np.arange(30.0)}, Signature(inputs=(column,), outputs=())))
    profile.fold({"x": np.arange(500.0)})
    assert check(profile).verdict is Verdict.UNKNOWN


def test_data_that_always_swings_is_given_room(rng: np.random.Generator) -> None:
    season = np.repeat(rng.normal(0, 0.5, 80), 250)
    swinging = rng.normal(size=20_000) + season
    now = rng.normal(0.4, 1, 1000)
    assert one_number(swinging, now).verdict is Verdict.PASS
    assert one_number(rng.permutation(swinging), now).verdict is Verdict.FAIL
    assert one_number(swinging, now + 5).verdict is Verdict.FAIL


def test_rows_that_resemble_their_neighbours_do_not_alarm() -> None:
    rng = np.random.default_rng(3)

    def chain(rows: int) -> Floats:
        """Each row keeps 0.7 of the one before; mean 0, standard deviation 1."""
        noise = rng.normal(size=rows + 100) * np.sqrt(1 - 0.7**2)
        return np.asarray(signal.lfilter([1.0], [1.0, -0.7], noise), dtype=np.float64)[100:]

    column = Column(name="x", kind=Kind.NUMBER, datatype="FP64")
    found = build({"x": chain(20_000)}, Signature(inputs=(column,), outputs=()))
    verdicts: list[Verdict] = []
    for _ in range(200):
        profile = Profile.empty(found)
        profile.fold({"x": chain(1000)})
        verdicts.append(check(profile).verdict)
    assert verdicts.count(Verdict.FAIL) <= 4


def test_independent_rows_are_never_taken_for_swinging_much(baseline: Baseline) -> None:
    for feature in baseline.watched:
        for rows in (100, 1000, 10_000):
            factors, _ = swing(feature, rows)
            assert (factors >= 1.0).all()
            assert (factors < 2.5).all()


def test_psi_has_no_bias_from_few_rows(rng: np.random.Generator) -> None:
    cells = np.arange(16)
    share = np.full(16, 1 / 16)
    values = [psi(rng.multinomial(300, share), rng.multinomial(3000, share), cells) for _ in range(200)]
    assert np.mean(values) < 0.02


def test_the_wasserstein_distance_is_scipys(rng: np.random.Generator) -> None:
    first, second = rng.normal(size=50), rng.normal(1, 2, 80)
    own = wasserstein(first, np.full(50, 1 / 50), second, np.full(80, 1 / 80))
    assert own == pytest.approx(stats.wasserstein_distance(first, second))


def ks_distance(first: Floats, second: Floats) -> float:
    points = np.concatenate([first, second])
    return float(
        np.abs(
            np.searchsorted(np.sort(first), points, side="right") / len(first)
            - np.searchsorted(np.sort(second), points, side="right") / len(second)
        ).max()
    )


def test_binned_distances_are_those_of_the_rows(rng: np.random.Generator) -> None:
    reference, now = np.exp(rng.normal(size=20_000)), np.exp(rng.normal(0.2, 1, 5000))
    effect = one_number(reference, now).effect
    assert effect is not None
    assert effect.distance == pytest.approx(ks_distance(reference, now), abs=0.004)
    exact = stats.wasserstein_distance(reference, now) / reference.std()
    assert effect.shift == pytest.approx(exact, abs=0.004)
