"""How an endpoint's standing is judged."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.domain.monitoring.fleet import Health, OnItsWay, judge
from lockgate.domain.monitoring.traffic import Traffic


def _traffic(requests: int = 100, error_share: float | None = 0.0) -> Traffic:
    return Traffic(requests=requests, rows=requests, error_share=error_share, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0)


def _coming(**unlike: Any) -> OnItsWay:
    told: dict[str, Any] = {
        "rollout": "rollout_1",
        "release": "release_1",
        "version": "thyroid:2",
        "phase": "running",
        "paused": False,
        "step": 1,
        "steps": 2,
        "kind": "shadow",
        "share": 1.0,
        "reason": "too few requests yet",
    }
    return OnItsWay(**(told | unlike))


_CALM: dict[str, Any] = {
    "stable": "thyroid:1",
    "on_its_way": None,
    "incidents": 0,
    "mitigated": 0,
    "alerts": (),
    "drifted": (),
    "traffic": _traffic(),
    "minutes": 5,
}


@pytest.mark.parametrize(
    ("unlike", "health", "said"),
    [
        ({}, Health.GOOD, "no errors"),
        ({"traffic": _traffic(error_share=0.004)}, Health.GOOD, "0.40% of the requests failed"),
        ({"on_its_way": _coming()}, Health.GOOD, "no errors"),
        ({"incidents": 1}, Health.BAD, "1 incident open"),
        ({"incidents": 2, "alerts": ("p95 is 90 ms",)}, Health.BAD, "p95 is 90 ms"),
        ({"alerts": ("roc_auc is 0.6",), "drifted": ("tsh",)}, Health.BAD, "roc_auc is 0.6"),
        ({"stable": None}, Health.EMPTY, "promoted here"),
        ({"on_its_way": _coming(paused=True)}, Health.WATCH, "thyroid:2 waits: too few requests"),
        ({"on_its_way": _coming(phase="holding"), "stable": None}, Health.WATCH, "waits"),
        ({"drifted": ("tsh", "age", "t3", "t4u")}, Health.WATCH, "tsh, age, t3"),
        ({"mitigated": 1}, Health.WATCH, "1 incident mitigated"),
        ({"traffic": None}, Health.QUIET, "nobody asked in the last 5 minutes"),
        ({"traffic": _traffic(0, None)}, Health.QUIET, "nobody asked"),
    ],
)
def test_the_worst_that_is_known_is_told_first(unlike: dict[str, Any], health: Health, said: str) -> None:
    judged, sentence = judge(**(_CALM | unlike))
    assert judged is health
    assert said in sentence
