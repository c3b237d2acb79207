"""Counts add up whoever sends them and however often; labels find their predictions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.labels import SqlLabels
from lockgate.adapters.sql.profiles import SqlProfiles
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Invalid, LockgateError
from lockgate.domain.monitoring.cells import pack, unpack
from lockgate.ports import Label, Labels, ProfileRow, Profiles, Why

KEY = b"baseline"


def row(minute: int, *counts: int, version: str = "thyroid:1", role: str = "live") -> ProfileRow:
    data = pack(KEY, np.array(counts, dtype=np.int64))
    return ProfileRow(minute=minute, endpoint="thyroid.prod", version=version, role=role, data=data)


def counts(rows: list[ProfileRow]) -> list[tuple[int, str, str, list[int]]]:
    return [(found.minute, found.version, found.role, unpack(found.data)[1].tolist()) for found in rows]


@pytest.fixture
def profiles(database: Database) -> Profiles:
    return SqlProfiles(database)


def test_deltas_of_one_key_add_up_across_sources(profiles: Profiles) -> None:
    assert profiles.add("g0-a", 1, [row(5, 1, 2), row(6, 1, 0)])
    assert profiles.add("g1-b", 1, [row(5, 10, 20), row(5, 7, 7, role="shadow"), row(5, 1, 1)])
    assert counts(profiles.window("thyroid.prod", 0, 10)) == [
        (5, "thyroid:1", "live", [12, 23]),
        (5, "thyroid:1", "shadow", [7, 7]),
        (6, "thyroid:1", "live", [1, 0]),
    ]


def test_a_delta_that_comes_again_changes_nothing(profiles: Profiles) -> None:
    assert profiles.add("g0-a", 1, [row(5, 1)])
    assert profiles.add("g0-a", 2, [row(5, 1)])
    assert not profiles.add("g0-a", 2, [row(5, 1)])
    assert not profiles.add("g0-a", 1, [row(5, 1)])
    assert profiles.add("g0-b", 1, [row(5, 1)])
    assert counts(profiles.window("thyroid.prod", 5, 6)) == [(5, "thyroid:1", "live", [3])]


def test_a_window_is_of_one_endpoint_and_if_asked_one_version(profiles: Profiles) -> None:
    profiles.add("g0", 1, [row(minute, minute, version=version) for minute in (4, 5, 6) for version in ("a:1", "a:2")])
    assert [found.minute for found in profiles.window("thyroid.prod", 4, 6, "a:2")] == [4, 5]
    assert len(profiles.window("thyroid.prod", 4, 6)) == 4
    assert profiles.window("heart.prod", 0, 10) == []


@pytest.mark.parametrize(
    "bad", [replace(row(5, 1), data=b"junk"), replace(row(5, 1), data=pack(b"another!", np.array([1])))]
)
def test_a_delta_with_a_bad_row_adds_nothing_of_it(profiles: Profiles, bad: ProfileRow) -> None:
    profiles.add("g0", 1, [row(5, 1)])
    with pytest.raises(Invalid):
        profiles.add("g0", 2, [row(5, 1), row(6, 1), bad])
    assert counts(profiles.window("thyroid.prod", 0, 10)) == [(5, "thyroid:1", "live", [1])]
    assert profiles.add("g0", 2, [row(5, 1)])


def test_gateways_that_send_at_once_lose_no_count(profiles: Profiles) -> None:
    def send(source: int) -> None:
        for seq in range(10):
            profiles.add(f"g{source}", seq, [row(5, 1), row(6, 2)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    assert [found[3] for found in counts(profiles.window("thyroid.prod", 0, 10))] == [[40], [80]]


@pytest.fixture
def labels(database: Database) -> Labels:
    return SqlLabels(database)


def label(id: str, why: Why, value: str = "sick") -> Label:
    return Label(prediction_id=id, endpoint="thyroid.prod", value=value, received_at=why.at)


def add(store: SqlStore, labels: Labels, why: Why, *new: Label) -> int:
    with store.begin(why) as tx:
        changed = labels.add(tx, new)
        tx.record("labels.added", "endpoint/thyroid.prod")
        return changed


def found(label: Label, minute: int, version: str = "thyroid:1") -> Label:
    return replace(label, version=version, minute=minute, score=0.25, predicted="well")


def test_a_label_waits_until_its_prediction_is_found(store: SqlStore, labels: Labels, why: Why) -> None:
    one, other = label("p1", why), label("p2", why)
    assert add(store, labels, why, one, other) == 2
    assert labels.waiting() == [one, other]
    labels.match([found(one, 5)])
    labels.match([])
    assert labels.waiting() == [other]
    assert labels.joined("thyroid.prod", 5, 6) == [found(one, 5)]
    assert labels.joined("thyroid.prod", 6, 9) == []
    assert labels.joined("thyroid.prod", 5, 6, "thyroid:2") == []
    assert labels.joined("heart.prod", 5, 6) == []


def test_the_newest_label_counts_and_keeps_its_prediction(store: SqlStore, labels: Labels, why: Why) -> None:
    first = label("p1", why)
    add(store, labels, why, first)
    labels.match([found(first, 5)])
    assert add(store, labels, why, first) == 0
    assert add(store, labels, why, label("p1", why, "well")) == 1
    assert labels.joined("thyroid.prod", 5, 6) == [found(label("p1", why, "well"), 5)]
    assert add(store, labels, why, label("p2", why, "sick"), label("p2", why, "well")) == 1
    assert [known.value for known in labels.waiting()] == ["well"]


def test_the_newest_predictions_can_be_asked_for_whenever_their_labels_came(
    store: SqlStore, labels: Labels, why: Why
) -> None:
    made = {"p9": 4, "p3": 5, "p2": 5, "p4": 6}
    add(store, labels, why, *(label(name, why) for name in made))
    labels.match([found(label(name, why), minute) for name, minute in made.items()])
    assert [known.prediction_id for known in labels.joined("thyroid.prod", 0, 9)] == ["p9", "p2", "p3", "p4"]
    assert [known.prediction_id for known in labels.joined("thyroid.prod", 0, 9, newest=2)] == ["p3", "p4"]


def test_a_label_of_another_endpoint_is_matched_anew(store: SqlStore, labels: Labels, why: Why) -> None:
    first = label("p1", why)
    add(store, labels, why, first)
    labels.match([found(replace(first, endpoint="heart.prod"), 5)])
    assert labels.waiting() == [first]
    labels.match([found(first, 5)])
    moved = replace(first, endpoint="thyroid.test")
    assert add(store, labels, why, moved) == 1
    assert labels.waiting() == [moved]


def test_labels_without_a_prediction_do_not_keep_the_others_waiting(store: SqlStore, labels: Labels, why: Why) -> None:
    add(store, labels, why, *(label(f"p{n}", why) for n in range(5)))
    seen = [[known.prediction_id for known in labels.waiting(limit=2)] for _ in range(4)]
    assert seen == [["p0", "p1"], ["p2", "p3"], ["p4"], ["p0", "p1"]]


def test_thousands_of_labels_are_kept_at_once(store: SqlStore, labels: Labels, why: Why) -> None:
    many = [label(f"p{n}", why) for n in range(2_500)]
    assert add(store, labels, why, *many) == 2_500
    assert add(store, labels, why, *many) == 0
    assert len(labels.waiting()) == 2_500


def test_labels_without_a_ledger_entry_are_refused(store: SqlStore, labels: Labels, why: Why) -> None:
    with pytest.raises(LockgateError, match="ledger"), store.begin(why) as tx:
        labels.add(tx, [label("p1", why)])
    assert labels.waiting() == []
