from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lockgate.base.verdict import Verdict, worst
from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Signature
from lockgate.domain.rollout.guard import Judgement, judge
from lockgate.domain.rollout.records import GuardSpec

NO_INPUTS = Signature(inputs=(), outputs=())
SPEC = GuardSpec()


def classifier(seed: int = 0) -> Baseline:
    return build({}, NO_INPUTS, np.random.default_rng(seed).beta(2, 5, 2000), None, classes=("no", "yes"))


def regressor(seed: int) -> Baseline:
    return build({}, NO_INPUTS, np.random.default_rng(seed).normal(10, 2, 2000 + seed))


def served(
    rows: int,
    *,
    seed: int = 1,
    errors: dict[str, int] | None = None,
    ms: float = 2.0,
    scores: Any = None,
    on: Baseline | None = None,
) -> Profile:
    rng = np.random.default_rng(seed)
    profile = Profile.empty(on or classifier())
    profile.count(requests=rows, rows=rows, errors=errors, latencies_us=rng.lognormal(np.log(ms * 1000), 0.3, rows))
    profile.fold({}, rng.beta(2, 5, rows) if scores is None else scores)
    return profile


def named(judgements: tuple[Judgement, ...], name: str) -> Judgement:
    return next(judgement for judgement in judgements if judgement.name == name)


def test_a_canary_like_stable_passes_every_guard() -> None:
    judgements = judge(served(500), served(5000, seed=2), SPEC)
    assert [judgement.name for judgement in judgements] == ["errors", "invalid_outputs", "latency", "predictions"]
    assert worst(judgement.verdict for judgement in judgements) is Verdict.PASS


def test_too_few_rows_never_pass_and_say_how_many_more_it_takes() -> None:
    judgements = judge(served(150), served(5000, seed=2), SPEC)
    assert {judgement.verdict for judgement in judgements} == {Verdict.UNKNOWN}
    assert all("50 more" in judgement.sentence for judgement in judgements)


def test_nothing_at_all_is_unknown() -> None:
    judgements = judge(served(0), served(0), SPEC)
    assert {judgement.verdict for judgement in judgements} == {Verdict.UNKNOWN}


def test_a_stable_version_without_rows_is_no_pass() -> None:
    judgements = judge(served(500), served(0), SPEC)
    assert {judgement.verdict for judgement in judgements} == {Verdict.UNKNOWN}
    assert "200 more of stable's" in judgements[0].sentence


@pytest.mark.parametrize(("kind", "guard"), [("invalid_output", "invalid_outputs"), ("model_error", "errors")])
def test_a_third_of_bad_answers_fails_within_thirty_rows(kind: str, guard: str) -> None:
    found = named(judge(served(25, errors={kind: 8}), served(475, seed=2), SPEC), guard)
    assert found.verdict is Verdict.FAIL
    assert "8 of 25" in found.sentence
    assert found.figures["evidence"] >= 1000


def test_timeouts_count_as_errors_and_the_callers_mistakes_do_not() -> None:
    stable = served(2000, seed=2)
    assert named(judge(served(300, errors={"timeout": 60}), stable, SPEC), "errors").verdict is Verdict.FAIL
    assert named(judge(served(300, errors={"invalid_input": 200}), stable, SPEC), "errors").verdict is Verdict.PASS


def test_an_error_share_that_stable_has_too_passes() -> None:
    found = named(judge(served(400, errors={"timeout": 40}), served(4000, errors={"timeout": 400}), SPEC), "errors")
    assert found.verdict is Verdict.PASS


def test_a_share_over_the_margin_that_could_be_chance_is_unknown() -> None:
    found = named(judge(served(200, errors={"timeout": 4}), served(2000, seed=2), SPEC), "errors")
    assert found.verdict is Verdict.UNKNOWN
    assert "chance" in found.sentence


def test_a_canary_four_times_as_slow_fails_early() -> None:
    found = named(judge(served(60, ms=40), served(1000, seed=2, ms=10), SPEC), "latency")
    assert found.verdict is Verdict.FAIL
    assert found.figures["p95_ms"] > 2 * found.figures["p95_stable_ms"]


def test_a_slower_canary_below_the_floor_passes() -> None:
    found = named(judge(served(500, ms=2), served(1000, seed=2, ms=0.2), SPEC), "latency")
    assert found.verdict is Verdict.PASS


def test_turned_around_predictions_fail() -> None:
    turned = np.random.default_rng(3).beta(5, 2, 120)
    found = named(judge(served(120, scores=turned), served(2000, seed=2), SPEC), "predictions")
    assert found.verdict is Verdict.FAIL


def test_slightly_other_predictions_pass() -> None:
    other = np.random.default_rng(3).beta(2.3, 5, 500)
    assert named(judge(served(500, scores=other), served(2000, seed=2), SPEC), "predictions").verdict is Verdict.PASS


def test_regressions_with_different_bins_are_compared() -> None:
    stable = served(3000, scores=np.random.default_rng(5).normal(10, 2, 3000), on=regressor(0))
    alike = served(800, scores=np.random.default_rng(6).normal(10, 2, 800), on=regressor(7))
    shifted = served(800, scores=np.random.default_rng(6).normal(14, 2, 800), on=regressor(7))
    same, other = (named(judge(canary, stable, SPEC), "predictions") for canary in (alike, shifted))
    assert (same.verdict, other.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert same.figures["distance"] < 0.05
    assert other.figures["distance"] > 0.6


def test_predictions_without_scores_in_a_baseline_are_unknown() -> None:
    blind = Profile.empty(build({}, NO_INPUTS))
    blind.count(requests=500, rows=500, latencies_us=[1000.0] * 500)
    assert named(judge(served(500), blind, SPEC), "predictions").verdict is Verdict.UNKNOWN


def test_without_a_stable_version_the_margin_itself_is_the_limit() -> None:
    good = judge(served(400), None, SPEC)
    bad = judge(served(40, errors={"invalid_output": 10}), None, SPEC)
    assert [judgement.name for judgement in good] == ["errors", "invalid_outputs"]
    assert worst(judgement.verdict for judgement in good) is Verdict.PASS
    assert worst(judgement.verdict for judgement in bad) is Verdict.FAIL


def test_equal_versions_are_hardly_ever_failed_although_judged_again_and_again() -> None:
    failed = 0
    for seed in range(40):
        canary, stable = Profile.empty(classifier()), Profile.empty(classifier())
        for minute in range(15):
            rng = np.random.default_rng((seed, minute))
            bad, bad_beside = (int((rng.random(rows) < 0.02).sum()) for rows in (20, 80))
            canary = canary.merge(served(20, seed=int(rng.integers(1 << 30)), errors={"timeout": bad}))
            stable = stable.merge(served(80, seed=int(rng.integers(1 << 30)), errors={"timeout": bad_beside}))
            if worst(judgement.verdict for judgement in judge(canary, stable, SPEC)) is Verdict.FAIL:
                failed += 1
                break
    assert failed == 0
