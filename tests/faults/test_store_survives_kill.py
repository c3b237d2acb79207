"""A change and its ledger entry are both there or neither, whenever the process is killed."""

from __future__ import annotations

import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.outbox import SqlOutbox
from lockgate.adapters.sql.store import CHANGED, SqlStore
from lockgate.base.clock import SystemClock
from lockgate.domain.registry.records import Model
from tests.faults.doomed import a_counter, count_for_ever, count_up, end, now_why, nursery

LEAST_KILLS, KILLS = 6, 40
WRITERS = ("left", "right")


def test_a_killed_process_leaves_every_change_whole(
    database: Database, store: SqlStore, url: str, tmp_path: Path
) -> None:
    with store.begin(now_why("test")) as tx:
        for name in WRITERS:
            tx.record("counter.made", tx.add(a_counter(name)))
    chance, diary = random.Random(11), tmp_path / "diary"
    diary.touch()
    running = {name: _start(url, name, diary) for name in WRITERS}
    give_up = time.monotonic() + 15
    deaths = 0
    while deaths < LEAST_KILLS or (deaths < KILLS and time.monotonic() < give_up):
        name = WRITERS[deaths % 2]
        deaths += 1
        _wait_for_more(diary, name)
        time.sleep(chance.uniform(0, 0.05))
        end(running[name])
        running[name] = _start(url, name, diary)
    for process in running.values():
        end(process)

    promised = _promised(diary)
    entries = SqlLedger(database).entries(limit=1_000_000)
    pending = SqlOutbox(database, SystemClock()).pending(1_000_000)
    messages = [message for message in pending if message.topic != CHANGED]
    assert [message.payload["seq"] for message in pending if message.topic == CHANGED] == [
        entry.seq for entry in entries
    ]
    assert SqlLedger(database).verify()[0] == len(entries)
    for name in WRITERS:
        with store.reading() as tx:
            counter = tx.get(Model, name)
        counts = [entry.after["owner"] for entry in entries if entry.actor == name and entry.after]
        assert counts == [str(count) for count in range(1, int(counter.owner) + 1)]
        assert counter.revision == len(counts) + 1
        assert [message.payload["count"] for message in messages if message.payload["name"] == name] == [
            *range(1, len(counts) + 1)
        ]
        # All that was promised, and at most one change more for each death, between commit and promise.
        assert promised[name]
        assert set(promised[name]) <= set(range(1, len(counts) + 1))
        assert len(counts) - len(promised[name]) <= deaths // 2 + 1
    assert count_up(store, "left", "test") == len([entry for entry in entries if entry.actor == "left"]) + 1


def _start(url: str, name: str, diary: Path) -> ForkServerProcess:
    process = nursery().Process(target=count_for_ever, args=(url, name, diary), daemon=True)
    process.start()
    return process


def _wait_for_more(diary: Path, name: str) -> None:
    before, give_up = len(_promised(diary)[name]), time.monotonic() + 20
    while len(_promised(diary)[name]) == before and time.monotonic() < give_up:
        time.sleep(0.005)


def _promised(diary: Path) -> dict[str, list[int]]:
    lines = [line.split() for line in diary.read_text().splitlines()]
    return {name: [int(count) for known, count in lines if known == name] for name in WRITERS}
