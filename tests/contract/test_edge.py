"""Heartbeats of gateways, and answers of requests that come again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.gateways import SqlGateways
from lockgate.adapters.sql.idempotency import SqlIdempotency
from lockgate.base.errors import Conflict, Invalid
from lockgate.edge_ports import Answer, Gateways, Heartbeat, IdempotencyKeys
from lockgate.testing import FakeClock


@pytest.fixture
def gateways(database: Database) -> Gateways:
    return SqlGateways(database)


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return SqlIdempotency(database)


def heard(worker: str, clock: FakeClock, *, boot: str = "boot-a", generation: int = 3) -> Heartbeat:
    return Heartbeat(
        worker=worker,
        boot=boot,
        generation=generation,
        pid=100,
        problems={"sha256:ab": "its graph cannot be read"},
        held={"thyroid.prod": generation - 1},
        logged=5,
        dropped=1,
        trouble="the disk is full",
        seen_at=clock.now(),
    )


def test_a_gateway_is_alive_while_it_is_heard_of(gateways: Gateways, clock: FakeClock) -> None:
    gateways.note(heard("g1", clock))
    clock.advance(seconds=10)
    newer = heard("g0", clock, generation=4)
    gateways.note(newer)
    assert gateways.alive(clock.now()) == [newer]
    assert [known.worker for known in gateways.alive(clock.now() - timedelta(seconds=10))] == ["g0", "g1"]


def test_only_the_last_that_was_heard_counts(gateways: Gateways, clock: FakeClock) -> None:
    gateways.note(heard("g0", clock))
    gateways.note(heard("g0", clock, boot="boot-b", generation=4))
    (known,) = gateways.alive(clock.now())
    assert (known.boot, known.generation) == ("boot-b", 4)


def test_the_same_request_gets_the_same_answer(keys: IdempotencyKeys, clock: FakeClock) -> None:
    assert keys.reserve("ada", "k", "sha256:1", clock.now()) is None
    keys.complete("ada", "k", Answer(status=202, body=b"\x00{}"))
    assert keys.reserve("ada", "k", "sha256:1", clock.now()) == Answer(status=202, body=b"\x00{}")
    assert keys.reserve("eve", "k", "sha256:1", clock.now()) is None


def test_a_key_is_for_one_request_only(keys: IdempotencyKeys, clock: FakeClock) -> None:
    keys.reserve("ada", "k", "sha256:1", clock.now())
    with pytest.raises(Invalid, match="another request"):
        keys.reserve("ada", "k", "sha256:2", clock.now())


def test_a_request_under_way_is_not_done_twice(keys: IdempotencyKeys, clock: FakeClock) -> None:
    def ask(_: int) -> bool:
        try:
            return keys.reserve("ada", "k", "sha256:1", clock.now()) is None
        except Conflict:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(12))) == 1


def test_a_key_given_back_can_be_taken_again(keys: IdempotencyKeys, clock: FakeClock) -> None:
    keys.reserve("ada", "k", "sha256:1", clock.now())
    keys.release("ada", "k")
    assert keys.reserve("ada", "k", "sha256:1", clock.now()) is None
    keys.complete("ada", "k", Answer(status=200, body=b""))
    keys.release("ada", "k")
    assert keys.reserve("ada", "k", "sha256:1", clock.now()) == Answer(status=200, body=b"")


def test_the_key_of_a_request_that_died_is_free_after_a_minute(keys: IdempotencyKeys, clock: FakeClock) -> None:
    keys.reserve("ada", "k", "sha256:1", clock.now())
    clock.advance(seconds=59)
    with pytest.raises(Conflict):
        keys.reserve("ada", "k", "sha256:1", clock.now())
    clock.advance(seconds=2)
    assert keys.reserve("ada", "k", "sha256:1", clock.now()) is None


def test_answers_are_forgotten_after_a_day(keys: IdempotencyKeys, clock: FakeClock) -> None:
    keys.reserve("ada", "k", "sha256:1", clock.now())
    keys.complete("ada", "k", Answer(status=200, body=b"{}"))
    clock.advance(minutes=24 * 60 + 1)
    assert keys.reserve("ada", "k", "sha256:2", clock.now()) is None
