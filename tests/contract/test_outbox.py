"""Messages leave in the order of their commits, at least once, and not before they are committed."""

from __future__ import annotations

import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.outbox import LONGEST_WAIT, SqlOutbox
from lockgate.adapters.sql.store import CHANGED, SqlStore
from lockgate.base.errors import NotAllowedNow
from lockgate.ports import Why
from lockgate.testing import FakeClock


@pytest.fixture
def outbox(database: Database, clock: FakeClock) -> SqlOutbox:
    return SqlOutbox(database, clock)


def emit(store: SqlStore, why: Why, *topics: str) -> None:
    with store.begin(why) as tx:
        for topic in topics:
            tx.emit(topic, {"topic": topic})


def topics(outbox: SqlOutbox, limit: int = 100) -> list[str]:
    return [message.topic for message in outbox.pending(limit)]


def test_messages_come_in_the_order_of_their_commits(store: SqlStore, outbox: SqlOutbox, why: Why) -> None:
    emit(store, why, "a", "b")
    emit(store, why, "c")
    first, *_ = outbox.pending()
    assert (first.topic, first.payload, first.emitted_at, first.attempts) == ("a", {"topic": "a"}, why.at, 0)
    assert topics(outbox) == ["a", "b", "c"]
    assert topics(outbox, limit=2) == ["a", "b"]


def test_a_message_is_pending_until_it_is_delivered(store: SqlStore, outbox: SqlOutbox, why: Why) -> None:
    emit(store, why, "a", "b")
    outbox.delivered([outbox.pending()[0].id])
    assert topics(outbox) == ["b"]
    outbox.delivered([])
    outbox.delivered([message.id for message in outbox.pending()])
    assert topics(outbox) == []


def test_numbers_of_delivered_messages_are_not_given_again(store: SqlStore, outbox: SqlOutbox, why: Why) -> None:
    emit(store, why, "a")
    first = outbox.pending()[0].id
    outbox.delivered([first])
    emit(store, why, "b")
    assert outbox.pending()[0].id > first


def test_a_failed_message_holds_its_own_topic_and_no_other(
    store: SqlStore, outbox: SqlOutbox, clock: FakeClock, why: Why
) -> None:
    emit(store, why, "a", "b", "a")
    outbox.failed(outbox.pending()[0].id, "nobody home")
    assert topics(outbox) == ["b"]
    clock.advance(seconds=0.5)
    assert topics(outbox) == ["a", "b", "a"]
    assert (outbox.pending()[0].attempts, outbox.pending()[0].error) == (1, "nobody home")


def test_each_failure_waits_twice_as_long_up_to_a_limit(
    store: SqlStore, outbox: SqlOutbox, clock: FakeClock, why: Why
) -> None:
    emit(store, why, "a")
    id = outbox.pending()[0].id
    for wait in (0.5, 1, 2, 4, 8, 16, 32, LONGEST_WAIT, LONGEST_WAIT):
        outbox.failed(id, "no")
        clock.advance(seconds=wait - 0.1)
        assert topics(outbox) == []
        clock.advance(seconds=0.1)
        assert topics(outbox) == ["a"]


def test_a_failure_of_a_delivered_message_is_nothing(outbox: SqlOutbox) -> None:
    outbox.failed(99, "no")
    assert topics(outbox) == []


def test_every_change_is_told_with_the_number_of_its_ledger_entry(
    store: SqlStore, outbox: SqlOutbox, database: Database, why: Why
) -> None:
    with store.begin(why) as tx:
        tx.record("model.looked_at", "model/thyroid")
    (told,) = outbox.pending()
    (entry,) = SqlLedger(database).entries()
    assert (told.topic, told.payload) == (
        CHANGED,
        {"seq": entry.seq, "action": "model.looked_at", "subject": "model/thyroid", "actor": why.actor},
    )


def test_a_change_that_is_taken_back_is_not_told(store: SqlStore, outbox: SqlOutbox, why: Why) -> None:
    def change_and_fail() -> None:
        with store.begin(why) as tx:
            tx.record("model.looked_at", "model/thyroid")
            raise NotAllowedNow

    with pytest.raises(NotAllowedNow):
        change_and_fail()
    assert outbox.pending() == []
