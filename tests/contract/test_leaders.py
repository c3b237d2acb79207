"""One control plane leads each concern, and what a former leader writes is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.leaders import SqlLeaders
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.outbox import SqlOutbox
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Conflict
from lockgate.domain.registry.records import Model
from lockgate.ports import Why
from lockgate.testing import FakeClock
from tests.contract.records import a_model

CONCERNS = ("rollouts", "watch")


class Replica:
    """One of several control planes."""

    def __init__(self, database: Database, clock: FakeClock, name: str) -> None:
        start = clock.now()
        self.leaders = SqlLeaders(
            database, clock, name, CONCERNS, lease=5.0, ticking=lambda: (clock.now() - start).total_seconds()
        )
        self.store = SqlStore(database, self.leaders.guard("rollouts"))
        self.outbox = SqlOutbox(database, clock, self.leaders.guard("rollouts"))

    def write(self, why: Why, name: str) -> None:
        with self.store.begin(why) as tx:
            tx.record("model.added", tx.add(a_model(name, why.at)))

    @property
    def led(self) -> list[str]:
        return [concern for concern in CONCERNS if self.leaders.leads(concern)]


@pytest.fixture
def shared(postgres_database: Database) -> Database:
    return postgres_database


def test_the_first_leads_and_the_second_waits_its_turn(shared: Database, clock: FakeClock, why: Why) -> None:
    one, two = Replica(shared, clock, "one:1"), Replica(shared, clock, "two:1")
    for _ in range(20):
        one.leaders.beat()
        two.leaders.beat()
        assert (one.led, two.led) == (list(CONCERNS), [])
        clock.advance(seconds=1)
    assert {(each.holder, each.token, each.leads) for each in two.leaders.shown()} == {("one:1", 1, True)}
    clock.advance(seconds=3.9)
    two.leaders.beat()
    assert two.led == []
    clock.advance(seconds=0.1)
    two.leaders.beat()
    # By its own clock the first knows by now that it may have been replaced, without asking anybody.
    assert (one.led, two.led) == ([], list(CONCERNS))
    with pytest.raises(Conflict, match="another control plane leads rollouts"):
        one.write(why, "late")
    two.write(why, "good")
    one.leaders.beat()
    assert one.led == []
    with shared.reading(), SqlStore(shared).reading() as tx:
        assert [model.id for model in tx.find(Model)] == ["good"]
    assert SqlLedger(shared).verify()[0] == 1


def test_a_former_leader_neither_forgets_nor_delays_a_message(shared: Database, clock: FakeClock, why: Why) -> None:
    one, two = Replica(shared, clock, "one:1"), Replica(shared, clock, "two:1")
    one.leaders.beat()
    one.write(why, "thyroid")
    (message,) = one.outbox.pending()
    clock.advance(seconds=5)
    two.leaders.beat()
    for write in (lambda: one.outbox.delivered([message.id]), lambda: one.outbox.failed(message.id, "x")):
        with pytest.raises(Conflict):
            write()
    assert [each.id for each in two.outbox.pending()] == [message.id]
    two.outbox.delivered([message.id])
    assert two.outbox.pending() == []


def test_a_leader_that_starts_again_need_not_wait_and_its_old_self_is_refused(
    shared: Database, clock: FakeClock, why: Why
) -> None:
    old, other = Replica(shared, clock, "one:1"), Replica(shared, clock, "two:1")
    old.leaders.beat()
    new = Replica(shared, clock, "one:1")
    new.leaders.beat()
    other.leaders.beat()
    assert (new.led, other.led) == (list(CONCERNS), [])
    with pytest.raises(Conflict):
        old.write(why, "late")


def test_a_leader_that_goes_lets_go(shared: Database, clock: FakeClock) -> None:
    one, two = Replica(shared, clock, "one:1"), Replica(shared, clock, "two:1")
    one.leaders.beat()
    one.leaders.release()
    two.leaders.beat()
    assert (one.led, two.led) == ([], list(CONCERNS))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_leaves_one_leader(shared: Database, clock: FakeClock, why: Why, hours: int) -> None:
    one, two = Replica(shared, clock, "one:1"), Replica(shared, clock, "two:1")
    one.leaders.beat()
    clock.advance(minutes=60 * hours)
    two.leaders.beat()
    one.leaders.beat()
    assert two.led == list(CONCERNS)
    with pytest.raises(Conflict):
        one.write(why, "late")


def test_on_sqlite_the_last_to_start_leads_and_its_days_cost_nothing(
    sqlite_database: Database, clock: FakeClock, why: Why
) -> None:
    one = Replica(sqlite_database, clock, "one:1")
    one.leaders.beat()
    before = _changes(sqlite_database)
    for _ in range(100):
        clock.advance(minutes=10)
        one.leaders.beat()
        assert one.led == list(CONCERNS)
    assert _changes(sqlite_database) == before
    one.write(why, "good")
    two = Replica(sqlite_database, clock, "one:2")
    two.leaders.beat()
    with pytest.raises(Conflict):
        one.write(why, "late")
    one.leaders.beat()
    assert (one.led, two.led) == (["watch"], list(CONCERNS))
    with pytest.raises(Conflict):
        one.write(why, "late")
    two.write(why, "better")


def _changes(database: Database) -> tuple[int, int]:
    """What its log of writes looks like."""
    log = Path(f"{database.url.database}-wal").stat()
    return log.st_size, log.st_mtime_ns
