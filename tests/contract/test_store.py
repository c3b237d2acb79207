"""Records are kept whole, found by their fields, and changed only with their revision and a ledger entry."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.outbox import SqlOutbox
from lockgate.adapters.sql.store import SqlStore
from lockgate.adapters.sql.tables import KINDS
from lockgate.base.errors import Conflict, Exists, Invalid, LockgateError, NotAllowedNow, NotFound
from lockgate.domain.alerting.records import Alert, SignalKind
from lockgate.domain.registry.records import Model, Risk
from lockgate.domain.rollout.records import Rollout
from lockgate.domain.routing.table import EndpointRoute, Role, RouteTable, Target
from lockgate.ports import Store, Why
from lockgate.testing import FakeClock
from tests.contract.records import a_model, a_rollout, an_alert


def keep(store: Store, why: Why, *records: Any) -> None:
    with store.begin(why) as tx:
        for record in records:
            tx.record("kept", tx.add(record))


def test_a_record_comes_back_as_it_was_given(store: SqlStore, why: Why) -> None:
    table = RouteTable(
        id="1",
        generation=1,
        published_at=why.at,
        reason="first",
        endpoints=(
            EndpointRoute(
                name="thyroid.prod",
                model="thyroid",
                environment="prod",
                targets=(Target(version="thyroid:1", number=1, package="sha256:x", role=Role.LIVE, weight=10_000),),
            ),
        ),
    )
    rollout, alert = a_rollout("r1", why.at), an_alert("a1", why.at)
    keep(store, why, table, rollout, alert)
    with store.reading() as tx:
        assert tx.get(RouteTable, "1") == replace(table, revision=1)
        assert tx.get(Rollout, "r1") == replace(rollout, revision=1)
        assert tx.get(Alert, "a1") == replace(alert, revision=1)


def test_every_field_that_records_are_found_by_is_a_field_of_theirs() -> None:
    for kind in KINDS.values():
        assert {"id", "revision", *kind.fields} <= set(kind.record.__slots__)


def test_saving_counts_the_revision_and_an_older_one_is_refused(store: SqlStore, why: Why) -> None:
    with store.begin(why) as tx:
        first = tx.add(a_model("thyroid", why.at))
        second = tx.save(replace(first, owner="other"))
        tx.record("model.created", second)
    assert (first.revision, second.revision) == (1, 2)
    with pytest.raises(Conflict, match="thyroid"), store.begin(why) as tx:
        tx.save(replace(first, owner="third"))
    with store.reading() as tx:
        assert tx.get(Model, "thyroid") == second


def test_what_is_not_there_cannot_be_got_or_saved(store: SqlStore, why: Why) -> None:
    with store.reading() as tx, pytest.raises(NotFound, match="no model 'ghost'"):
        tx.get(Model, "ghost")
    with pytest.raises(NotFound), store.begin(why) as tx:
        tx.save(a_model("ghost", why.at))


def test_an_id_is_taken_once_and_the_transaction_can_go_on(store: SqlStore, why: Why) -> None:
    keep(store, why, a_model("thyroid", why.at))
    with store.begin(why) as tx:
        with pytest.raises(Exists, match="model 'thyroid'"):
            tx.add(a_model("thyroid", why.at))
        tx.record("kept", tx.add(a_model("heart", why.at)))
    with store.reading() as tx:
        assert [model.id for model in tx.find(Model)] == ["heart", "thyroid"]


def test_a_generation_is_published_once_whatever_its_id(store: SqlStore, why: Why) -> None:
    table = RouteTable(id="1", generation=1, published_at=why.at, reason="", endpoints=())
    keep(store, why, table)
    with pytest.raises(Exists), store.begin(why) as tx:
        tx.add(replace(table, id="one"))


def test_a_change_without_a_ledger_entry_is_refused(store: SqlStore, why: Why) -> None:
    with pytest.raises(LockgateError, match="without a ledger entry"), store.begin(why) as tx:
        tx.add(a_model("thyroid", why.at))
    with store.reading() as tx:
        assert tx.find(Model) == []


def test_a_block_that_raises_leaves_no_trace(store: SqlStore, database: Database, clock: FakeClock, why: Why) -> None:
    def stop_half_way() -> None:
        with store.begin(why) as tx:
            tx.record("model.created", tx.add(a_model("thyroid", why.at)))
            tx.emit("model.created", {"id": "thyroid"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stop_half_way()
    with store.reading() as tx:
        assert tx.find(Model) == []
    assert SqlLedger(database).entries() == []
    assert SqlOutbox(database, clock).pending() == []


def test_a_reading_transaction_refuses_every_change(store: SqlStore, why: Why) -> None:
    keep(store, why, a_model("thyroid", why.at))
    with store.reading() as tx:
        model = tx.get(Model, "thyroid")
        for change in (
            lambda: tx.add(a_model("heart", why.at)),
            lambda: tx.save(model),
            lambda: tx.record("x", "y"),
            lambda: tx.emit("x", {}),
        ):
            with pytest.raises(NotAllowedNow):
                change()


def test_a_reading_transaction_sees_one_moment(store: SqlStore, why: Why) -> None:
    with store.reading() as tx:
        assert tx.find(Model) == []
        keep(store, why, a_model("thyroid", why.at))
        assert tx.find(Model) == []


@pytest.fixture
def alerts(store: SqlStore, why: Why) -> list[str]:
    """Ids of alerts in the order in which they were kept; two share each moment."""
    kinds = (SignalKind.DRIFT, SignalKind.ERRORS, SignalKind.QUALITY)
    kept = [
        an_alert(f"a{9 - n}", why.at + timedelta(minutes=n // 2), kind=kinds[n % 3], incident=["i1", None][n % 2])
        for n in range(6)
    ]
    keep(store, why, *kept)
    return [alert.id for alert in kept]


def found(store: SqlStore, **query: Any) -> list[str]:
    with store.reading() as tx:
        return [alert.id for alert in tx.find(Alert, **query)]


def test_records_are_found_by_one_value_by_one_of_several_and_by_none(store: SqlStore, alerts: list[str]) -> None:
    assert found(store, kind=SignalKind.DRIFT) == ["a6", "a9"]
    assert found(store, kind=(SignalKind.DRIFT, SignalKind.ERRORS), incident="i1") == ["a5", "a9"]
    assert found(store, kind=[]) == []
    assert found(store, incident=None) == ["a4", "a6", "a8"]


def test_records_come_in_the_order_asked_for(store: SqlStore, alerts: list[str]) -> None:
    assert found(store) == sorted(alerts)
    assert found(store, order="created") == alerts
    assert found(store, order="opened_at") == alerts
    assert found(store, order="-opened_at") == alerts[::-1]
    assert found(store, order="-opened_at", limit=2) == ["a4", "a5"]


@pytest.mark.parametrize("order", ["id", "-id", "opened_at", "-opened_at", "created"])
def test_pages_put_together_are_the_whole_list(store: SqlStore, alerts: list[str], order: str) -> None:
    pages: list[str] = []
    while page := found(store, order=order, limit=4, after=pages[-1] if pages else None):
        pages += page
    assert pages == found(store, order=order)
    assert len(pages) == 6


def test_what_is_ordered_by_can_be_bounded(store: SqlStore, alerts: list[str], why: Why) -> None:
    at = why.at + timedelta(minutes=1)
    assert found(store, order="-opened_at", until=at, limit=1) == ["a6"]
    assert found(store, order="opened_at", since=at, until=at) == ["a7", "a6"]


@pytest.mark.parametrize(
    "query", [{"figures": 1}, {"order": "sentence"}, {"order": "incident"}, {"after": "ghost"}, {"body": "x"}]
)
def test_a_query_that_cannot_be_answered_is_told_so(store: SqlStore, query: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        found(store, **query)


def test_numbers_that_are_not_finite_become_missing_figures(store: SqlStore, why: Why) -> None:
    figures = {"nan": float("nan"), "float": np.float64(0.5), "int": np.int64(3)}
    alert = replace(an_alert("a1", why.at), figures=figures)
    with store.begin(why) as tx:
        kept = tx.add(alert)
        tx.record("alert.opened", kept, after=alert)
    assert kept.figures == {"nan": None, "float": 0.5, "int": 3}
    with store.reading() as tx:
        assert tx.get(Alert, "a1") == kept


def test_what_could_not_be_read_back_is_never_written(store: SqlStore, why: Why) -> None:
    rollout = a_rollout("r1", why.at)
    broken = (
        replace(rollout, strategy=replace(rollout.strategy, steps=None)),  # type: ignore[arg-type]
        replace(an_alert("a1", why.at), figures={"thing": object()}),
    )
    with store.begin(why) as tx:
        for record in broken:
            with pytest.raises(Invalid):
                tx.add(record)
        tx.record("kept", tx.add(a_model("thyroid", why.at)))
    with store.reading() as tx:
        assert (tx.find(Rollout), tx.find(Alert), len(tx.find(Model))) == ([], [], 1)


@pytest.mark.parametrize("field", ["reason", "actor"])
def test_text_that_is_no_unicode_is_invalid_and_changes_nothing(store: SqlStore, why: Why, field: str) -> None:
    with pytest.raises(Invalid), store.begin(replace(why, **{field: "\ud800"})) as tx:
        tx.record("model.created", tx.add(a_model("thyroid", why.at)))
    with store.reading() as tx:
        assert tx.find(Model) == []


def test_changes_from_many_threads_follow_one_another(store: SqlStore, database: Database, why: Why) -> None:
    keep(store, why, a_model("shared", why.at))

    def change(number: int) -> None:
        with store.begin(why) as tx:
            model = tx.get(Model, "shared")
            tx.record("model.changed", tx.save(replace(model, owner=str(number))))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))
    with store.reading() as tx:
        assert tx.get(Model, "shared").revision == 41
    assert SqlLedger(database).verify()[0] == 41


def test_a_writer_that_stays_too_long_does_not_hang_the_others(url: str, why: Why) -> None:
    one, other = Database(url), Database(url, patience=0.3)
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with SqlStore(one).begin(why) as tx:
            tx.record("model.created", tx.add(a_model("slow", why.at)))
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert entered.wait(10)
        with pytest.raises(LockgateError, match="locked") as refused, SqlStore(other).begin(why):
            pass
        assert refused.value.code == "unavailable"
        with SqlStore(other).reading() as tx:
            assert tx.find(Model) == []
    finally:
        leave.set()
        thread.join()
    keep(SqlStore(other), why, a_model("quick", why.at))
    one.close()
    other.close()


def test_a_transaction_inside_another_is_refused_at_once(store: SqlStore, why: Why) -> None:
    with store.begin(why) as tx:
        with pytest.raises(LockgateError, match="wait for itself"), store.begin(why):
            pass
        tx.record("model.created", tx.add(a_model("thyroid", why.at)))
    keep(store, why, a_model("heart", why.at))


def test_times_keep_their_microseconds_in_every_order(store: SqlStore, why: Why) -> None:
    moments = [datetime.fromisoformat(f"2026-05-01T12:00:00.{n:06}+00:00") for n in (999_999, 1, 0)]
    keep(store, why, *(a_model(f"m{n}", at, risk=Risk.LOW) for n, at in enumerate(moments)))
    with store.reading() as tx:
        assert [model.created_at for model in tx.find(Model, order="created_at")] == sorted(moments)
