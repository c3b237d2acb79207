from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.errors import CorruptArtifact, NotFound, NotServable
from lockgate.dataplane import oip
from lockgate.dataplane.batching import Ask, batches, predict
from lockgate.dataplane.counting import BLOCK, LARGE, Counting
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.routing import LiveEndpoint, LiveTable, LiveTarget, bucket
from lockgate.domain.monitoring.layout import Failure
from lockgate.domain.monitoring.profile import Profile, merge_all
from lockgate.domain.registry.manifest import Column, Kind
from lockgate.domain.routing.table import Role
from lockgate.ports import ProfileRow
from tests.serving import keep_classifier, keep_regression, reciprocal, route, table, target

ONE_NUMBER = (Column(name="x", kind=Kind.NUMBER, datatype="FP64", low=1.0, high=2.0),)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def inverse(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("inverse"))
    return load(keep_regression(blobs, reciprocal(), ONE_NUMBER), blobs)


def asks(lane: Lane, parts: list[Any]) -> list[Ask]:
    live = LiveTarget("thyroid.prod", "prod", 1, target("sha256:" + "0" * 64), lane)
    tally = Counting(lambda: 0.0).tally("thyroid.prod", "thyroid:1", "live", lane)
    return [Ask(None, live, tally, "live", "01a", (part,), oip.write) for part in parts]


@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12), seed=st.integers(0, 100))
def test_an_answer_among_others_is_the_answer_alone_bit_for_bit(forest: Lane, sizes: list[int], seed: int) -> None:
    assert forest.joins
    chance = np.random.default_rng(seed)
    several = asks(forest, [chance.random((size, 4)).astype(np.float32) for size in sizes])
    taken: list[Ask] = []
    for batch in batches(several):
        taken += batch
        for ask, answer in zip(batch, predict(batch).answers, strict=True):
            alone = forest.predict(ask.inputs)
            assert answer is not None
            assert answer.scores.tobytes() == alone.scores.tobytes()
            assert answer.labels == alone.labels
    assert sorted(map(id, taken)) == sorted(map(id, several))


def test_only_the_request_whose_answer_is_no_number_is_refused(inverse: Lane) -> None:
    parts = [np.array([[1.0], [2.0]]), np.array([[4.0], [0.0]]), np.array([[8.0]])]
    outcome = predict(asks(inverse, parts))
    answers = [None if answer is None else answer.scores.ravel().tolist() for answer in outcome.answers]
    assert answers == [[1.0, 0.5], None, [0.125]]
    refused = outcome.refusals[1]
    assert refused is not None
    assert (refused.status, refused.code) == (422, "invalid_output")


def test_only_the_request_that_the_graph_cannot_take_is_refused(forest: Lane) -> None:
    parts = [np.zeros((1, 4), np.float32), np.zeros((1, 3), np.float32), np.ones((1, 4), np.float32)]
    outcome = predict(asks(forest, parts))
    assert [answer is None for answer in outcome.answers] == [False, True, False]
    refused = outcome.refusals[1]
    assert refused is not None
    assert (refused.status, refused.code) == (422, "model_error")


def test_requests_are_never_joined_where_that_might_change_a_bit(forest: Lane) -> None:
    several = asks(forest, [np.zeros((1, 4), np.float32)] * 3)
    forest.joins = False
    try:
        assert [len(batch) for batch in batches(several)] == [1, 1, 1]
    finally:
        forest.joins = True
    assert [len(batch) for batch in batches(several)] == [3]


def test_batches_end_at_their_limit_and_large_requests_stand_alone(forest: Lane) -> None:
    several = asks(forest, [np.zeros((rows, 4), np.float32) for rows in (64, 65, 64, 64, 64, 1)])
    assert [[ask.rows for ask in batch] for batch in batches(several)] == [[65], [64, 64, 64, 64], [1]]


def test_a_package_that_is_not_what_it_says_is_not_loaded(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(NotFound):
        load("sha256:" + "0" * 64, blobs)
    with pytest.raises(CorruptArtifact, match="no manifest"):
        load(blobs.put(b"{}"), blobs)
    with pytest.raises(NotServable, match="cannot load"):
        load(keep_regression(blobs, b"not onnx", ONE_NUMBER), blobs)


def test_a_package_that_answers_its_neutral_row_with_no_number_is_not_ready(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(NotServable, match="no number"):
        load(keep_regression(blobs, reciprocal(1.5), ONE_NUMBER), blobs)


def test_a_package_that_takes_one_row_and_no_more_is_not_ready(tmp_path: Path) -> None:
    graph = onnx.load_model_from_string(reciprocal())
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(NotServable, match="several rows"):
        load(keep_regression(blobs, graph.SerializeToString(), ONE_NUMBER), blobs)


def test_a_graph_without_the_signatures_inputs_is_not_ready(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    columns = (Column(name="other", kind=Kind.NUMBER, datatype="FP64"),)
    with pytest.raises(NotServable, match="'other'"):
        load(keep_regression(blobs, reciprocal(), columns), blobs)


@given(batches_of=st.lists(st.integers(1, BLOCK), min_size=1, max_size=6))
def test_profiles_count_every_row_however_they_were_batched(forest: Lane, batches_of: list[int]) -> None:
    counting = Counting(lambda: 600.0)
    tally = counting.tally("thyroid.prod", "thyroid:1", "live", forest)
    chance = np.random.default_rng(1)
    rows = chance.random((sum(batches_of), 4)).astype(np.float32)
    whole = Profile.empty(forest.baseline)
    answer = forest.predict((rows,))
    assert answer.labels is not None
    whole.fold(forest.intake.watched((rows,)), answer.scores[:, 0], np.array(answer.labels))
    whole.count(requests=len(batches_of), rows=len(rows), latencies_us=[2000.0] * len(batches_of))
    at = 0
    for size in batches_of:
        tally.answered((rows[at : at + size],), answer.cut(at, at + size))
        tally.latencies.append(0.002)
        counting.settle(tally)
        at += size
    counting.fold()
    [row] = counting.take()
    assert (row.minute, row.endpoint, row.version, row.role) == (10, "thyroid.prod", "thyroid:1", "live")
    assert Profile.decode(row.data, forest.baseline) == whole
    assert counting.take() == []


def test_each_minute_has_its_own_counts(forest: Lane) -> None:
    now = [59.0]
    counting = Counting(lambda: now[0])
    tally = counting.tally("thyroid.prod", "thyroid:1", "live", forest)
    tally.failed(Failure.INVALID_INPUT, 400)
    now[0] = 61.0
    counting.settle(tally)
    tally.failed(Failure.SHED, 503)
    counting.fold()
    rows = counting.take()
    assert [row.minute for row in rows] == [0, 1]
    errors = [Profile.decode(row.data, forest.baseline).errors for row in rows]
    assert [(found[Failure.INVALID_INPUT], found[Failure.SHED]) for found in errors] == [(1, 0), (0, 1)]


def test_a_package_that_no_route_needs_is_let_go_and_what_it_still_answers_counts(forest: Lane, inverse: Lane) -> None:
    counting = Counting(lambda: 600.0)
    old = counting.tally("dose.prod", "dose:1", "live", inverse)
    counting.tally("thyroid.prod", "thyroid:1", "live", forest)
    old.failed(Failure.SHED, 503)
    counting.forget([forest])
    assert [tally.lane for tally in counting.tallies.values()] == [forest]
    old.failed(Failure.SHED, 503)
    counting.settle(old)
    [row] = counting.take()
    assert Profile.decode(row.data, inverse.baseline).errors[Failure.SHED] == 2


@pytest.mark.parametrize("end", ["drain", "close", "forget", "wait"])
def test_a_large_block_is_counted_aside_in_its_own_minute_and_nothing_is_lost(forest: Lane, end: str) -> None:
    now = [600.0]
    counting = Counting(lambda: now[0])
    rows = np.random.default_rng(2).random((LARGE // 4, 4)).astype(np.float32)
    answer = forest.predict((rows,))
    whole = Profile.empty(forest.baseline)
    assert answer.labels is not None
    for _ in range(20):
        whole.fold(forest.intake.watched((rows,)), answer.scores[:, 0], np.array(answer.labels))
        whole.count(requests=1, rows=len(rows))

    async def serve() -> list[ProfileRow]:
        tally = counting.tally("thyroid.prod", "thyroid:1", "live", forest)
        for _ in range(20):
            tally.answered((rows,), answer)
            counting.settle(tally)
        now[0] = 660.0
        taken = counting.take()
        counting.fold()
        if end == "forget":
            counting.forget([])
        if end == "wait":
            # The loop is told of each block: it need not ask.
            async with asyncio.timeout(10):
                while folded(taken) < whole.folded:
                    await asyncio.sleep(0.001)
                    taken += counting.take()
            return taken
        (counting.close if end == "close" else counting.drain)()
        return taken + counting.take()

    def folded(taken: list[ProfileRow]) -> int:
        return sum(Profile.decode(row.data, forest.baseline).folded for row in taken)

    taken = asyncio.run(serve())
    assert {row.minute for row in taken} == {10}
    assert merge_all([Profile.decode(row.data, forest.baseline) for row in taken], forest.baseline) == whole
    assert counting.take() == []
    counting.close()


def endpoint(lane: Lane, *weights: tuple[int, Role, int]) -> LiveEndpoint:
    package = "sha256:" + "0" * 64
    targets = [target(package, number, role, weight) for number, role, weight in weights]
    routes = table(1, route("thyroid.prod", *targets))
    return LiveTable(routes, {package: lane}).endpoint("thyroid.prod")


def test_a_key_always_finds_the_same_version_and_weights_are_kept(forest: Lane) -> None:
    both = endpoint(forest, (1, Role.LIVE, 9_500), (2, Role.LIVE, 500))
    found = [both.pick(f"patient-{key}").target.number for key in range(20_000)]
    assert found == [both.pick(f"patient-{key}").target.number for key in range(20_000)]
    assert 850 < found.count(2) < 1150


def test_a_growing_canary_keeps_the_callers_it_had(forest: Lane) -> None:
    few = endpoint(forest, (1, Role.LIVE, 9_500), (2, Role.LIVE, 500))
    more = endpoint(forest, (1, Role.LIVE, 5_000), (2, Role.LIVE, 5_000))
    keys = [key for key in map(str, range(5000)) if few.pick(key).target.number == 2]
    assert keys
    assert all(more.pick(key).target.number == 2 for key in keys)


def test_a_shadow_sees_its_share_and_warm_versions_answer_only_by_their_number(forest: Lane) -> None:
    found = endpoint(forest, (1, Role.LIVE, 10_000), (2, Role.SHADOW, 2_000), (3, Role.WARM, 0))
    shown = sum(len(found.shadows_of(str(key))) for key in range(5000))
    assert 850 < shown < 1150
    assert {found.pick(str(key)).target.number for key in range(100)} == {1}
    assert found.pinned("3").target.number == 3
    with pytest.raises(Refused) as caught:
        found.pinned("4")
    assert caught.value.status == 404


def test_an_endpoint_with_a_version_that_cannot_be_loaded_is_closed_rather_than_wrong(forest: Lane) -> None:
    package = "sha256:" + "0" * 64
    routes = table(
        1, route("thyroid.prod", target(package, 1, weight=5_000), target("sha256:" + "1" * 64, 2, weight=5_000))
    )
    found = LiveTable(routes, {package: forest}).endpoint("thyroid.prod")
    with pytest.raises(Refused) as caught:
        found.pick("anyone")
    assert caught.value.status == 503


def test_buckets_are_what_they_were_so_that_nobody_moves_when_a_gateway_is_upgraded() -> None:
    assert [bucket("thyroid.prod", key) for key in ("a", "b", "patient-7")] == [8478, 4507, 6279]
