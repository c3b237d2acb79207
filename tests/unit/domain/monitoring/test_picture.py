"""What is drawn of counts: traffic, and two distributions on the same bars."""

from __future__ import annotations

import numpy as np
import pytest

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.cells import pack
from lockgate.domain.monitoring.picture import BARS, bars_of
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.monitoring.traffic import traffic_of, traffic_part
from lockgate.domain.registry.manifest import Column, Kind, Output, Signature

_SIGNATURE = Signature(
    inputs=(
        Column(name="tsh", kind=Kind.NUMBER, datatype="FP64"),
        Column(name="stage", kind=Kind.INTEGER, datatype="INT64"),
        Column(name="ward", kind=Kind.TEXT, datatype="BYTES"),
        Column(name="tail", kind=Kind.NUMBER, datatype="FP64"),
    ),
    outputs=(Output(name="prediction", datatype="FP64"),),
)


@pytest.fixture
def baseline() -> Baseline:
    rng = np.random.default_rng(3)
    rows = 4000
    tail = rng.normal(0, 1, rows)
    tail[0], tail[1] = -1e6, 1e6
    columns = {
        "tsh": rng.normal(2, 1, rows),
        "stage": rng.integers(1, 5, rows),
        "ward": rng.choice(np.array(["A", "B"], dtype=object), rows),
        "tail": tail,
    }
    return build(columns, _SIGNATURE)


def _profile(baseline: Baseline, tsh: float = 2.0) -> Profile:
    rng = np.random.default_rng(4)
    rows = 1000
    profile = Profile.empty(baseline)
    profile.fold(
        {
            "tsh": rng.normal(tsh, 1, rows),
            "stage": rng.integers(3, 5, rows),
            "ward": np.array(["C"] * rows, dtype=object),
            "tail": rng.normal(0, 1, rows),
        }
    )
    profile.count(
        requests=1100, rows=1100, errors={"model_error": 11, "invalid_input": 89}, latencies_us=[900.0] * 1000
    )
    return profile


def test_a_number_is_drawn_on_few_even_bars_that_hold_all_rows(baseline: Baseline) -> None:
    bars = bars_of(baseline.layout.places["tsh"].feature, _profile(baseline, tsh=4.0))
    assert len(bars) == BARS
    assert sum(bar.baseline or 0 for bar in bars) == pytest.approx(1)
    assert sum(bar.now or 0 for bar in bars) == pytest.approx(1)
    middle = [((bar.low or 0) + (bar.high or 0)) / 2 for bar in bars]
    mean = sum(at * (bar.now or 0) for at, bar in zip(middle, bars, strict=True))
    assert mean == pytest.approx(4, abs=0.3)


def test_a_number_of_few_values_has_a_bar_for_each(baseline: Baseline) -> None:
    bars = bars_of(baseline.layout.places["stage"].feature, _profile(baseline))
    assert [bar.name for bar in bars] == ["1", "2", "3", "4"]
    assert [bar.now == 0 for bar in bars] == [True, True, False, False]


def test_a_category_that_training_never_had_is_shown(baseline: Baseline) -> None:
    bars = bars_of(baseline.layout.places["ward"].feature, _profile(baseline))
    assert {bar.name: bar.now for bar in bars} == {"A": 0.0, "B": 0.0, "any other value": 1.0}


def test_a_lonely_value_far_away_does_not_squeeze_the_picture(baseline: Baseline) -> None:
    bars = bars_of(baseline.layout.places["tail"].feature, _profile(baseline))
    assert (bars[0].low or 0) > -100
    assert (bars[-1].high or 0) < 100


def test_without_rows_nothing_is_claimed(baseline: Baseline) -> None:
    nothing = Profile.empty(baseline)
    for name in ("tsh", "stage", "ward"):
        assert {bar.now for bar in bars_of(baseline.layout.places[name].feature, nothing)} == {None}


def test_a_constant_number_can_be_drawn() -> None:
    values = np.full(200, 7.0)
    made = build({"tsh": values}, Signature(inputs=_SIGNATURE.inputs[:1], outputs=_SIGNATURE.outputs))
    (bar,) = bars_of(made.features[0], Profile.empty(made))
    assert (bar.name, bar.baseline, bar.now) == ("7", 1.0, None)


def test_traffic_is_read_without_the_baseline_and_adds_up(baseline: Baseline) -> None:
    part = traffic_part(_profile(baseline).encode())
    traffic = traffic_of(part.merge(traffic_part(Profile.empty(baseline).encode())))
    assert traffic.requests == 1100
    assert traffic.errors == {"invalid_input": 89, "model_error": 11}
    assert traffic.error_share == pytest.approx(0.01)
    assert traffic.p95_ms == pytest.approx(0.9, rel=0.06)


def test_nothing_counted_is_unknown_and_not_nought(baseline: Baseline) -> None:
    traffic = traffic_of(traffic_part(Profile.empty(baseline).encode()))
    assert (traffic.error_share, traffic.p50_ms, traffic.p99_ms) == (None, None, None)


def test_bytes_that_are_too_short_are_refused() -> None:
    with pytest.raises(Invalid, match="too short"):
        traffic_part(pack(b"12345678", np.zeros(3, dtype=np.int64)))
