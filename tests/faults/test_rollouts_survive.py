"""Control planes die and freeze with rollouts on their way (G2, G9); no step is taken twice, early or by two."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.leaders import LEASE
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.domain.rollout.records import Phase
from tests.faults.controllers import Controller, await_leader, leader_of
from tests.faults.rollouts import Yard, violations


@contextmanager
def controllers(home: Path, url: str, ports: range) -> Generator[list[Controller]]:
    running = [Controller(home, url, port) for port in ports]
    try:
        yield running
    finally:
        for each in running:
            each.thaw()
            each.end()


def wait_until(true: Callable[[], bool], seconds: float, meanwhile: Callable[[], None]) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, "waited in vain"
        meanwhile()
        time.sleep(0.02)


def groups(endpoints: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Most are good, every fifth is sent nothing, every fifth is bad."""
    starved, bad = endpoints[3::5], endpoints[4::5]
    return [name for name in endpoints if name not in starved and name not in bad], starved, bad


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_no_share_is_above_its_step_and_no_step_is_taken_without_a_verdict_while_controllers_are_killed(
    database: Database, url: str, tmp_path: Path, soak: bool
) -> None:
    count, chance = (200, random.Random(2)) if soak else (20, random.Random(2))
    yard = Yard(tmp_path, database)
    endpoints = yard.begin(count)
    good, starved, bad = groups(endpoints)
    deaths = 0
    with controllers(tmp_path, url, range(7401, 7403)) as running:

        def stir() -> None:
            nonlocal deaths
            for name in chance.sample(good, min(len(good), 8)):
                yard.traffic(name, 100)
            for name in chance.sample(bad, min(len(bad), 2)):
                yard.traffic(name, 60, errors=40)
            time.sleep(chance.uniform(0.2, 0.9))
            chance.choice(running).again()
            deaths += 1

        def settled() -> bool:
            known = yard.rollouts()
            return all(known[name].phase.over for name in (*good, *bad))

        wait_until(settled, 1200 if soak else 90, stir)
    known = yard.rollouts()
    assert {known[name].phase for name in good} == {Phase.COMPLETED}
    assert {known[name].phase for name in bad} == {Phase.ABORTED}
    assert {known[name].step for name in starved} == {0}
    assert deaths >= 3
    assert violations(database, set(starved), set(bad)) == []
    assert SqlLedger(database).verify()[0] > count


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_frozen_leader_is_replaced_within_a_second_of_its_lease_and_writes_nothing_when_it_thaws(
    database: Database, url: str, tmp_path: Path, soak: bool
) -> None:
    frozen_for = 60.0 if soak else LEASE + 2
    yard = Yard(tmp_path, database)
    good, starved, bad = groups(yard.begin(20))
    with controllers(tmp_path, url, range(7401, 7403)) as running:
        await_leader(database, "rollouts")
        first = leader_of(database, "rollouts")
        leader = next(each for each in running if first.endswith(f":{each.port}"))
        for name in good:
            yard.traffic(name, 100)
        leader.freeze()
        began = time.monotonic()
        for concern in ("rollouts", "outbox", "schedules", "watch"):
            await_leader(database, concern, but=first)
            assert time.monotonic() - began < LEASE + 1

        def feed() -> None:
            for name in (*good, *bad):
                yard.traffic(name, 60, errors=40 if name in bad else 0)

        wait_until(lambda: time.monotonic() - began > frozen_for, frozen_for + 5, feed)
        leader.thaw()
        wait_until(lambda: all(yard.rollouts()[name].phase.over for name in (*good, *bad)), 60, feed)
        # Long enough for the thawed one to try whatever it still had in mind.
        time.sleep(2)
        assert leader_of(database, "rollouts") not in ("", first)
    known = yard.rollouts()
    assert {known[name].phase for name in good} == {Phase.COMPLETED}
    assert {known[name].phase for name in bad} == {Phase.ABORTED}
    assert violations(database, set(starved), set(bad)) == []
