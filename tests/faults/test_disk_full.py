"""On a full disk nothing is half done, reading goes on, and all is well once there is room again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.digest import digest_of
from lockgate.base.errors import Unavailable
from lockgate.domain.registry.records import Model
from tests.faults.doomed import a_counter, count_up, now_why
from tests.faults.small_disk import SIZE, SmallDisk, a_small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with a_small_disk(tmp_path / "disk") as disk:
        yield disk


def test_a_change_on_a_full_disk_is_refused_whole(disk: SmallDisk) -> None:
    database = Database(f"sqlite:///{disk.folder}/lockgate.db")
    migrate(database)
    store = SqlStore(database)
    with store.begin(now_why("test")) as tx:
        tx.record("counter.made", tx.add(a_counter("effects")))
    assert count_up(store, "effects", "test") == 1
    disk.fill()
    done, refused = _until_refused(store)
    assert refused.hint
    with store.reading() as tx:
        assert tx.get(Model, "effects").owner == str(done)
    assert SqlLedger(database).verify()[0] == done + 1
    disk.free()
    assert count_up(store, "effects", "test") == done + 1
    assert SqlLedger(database).verify()[0] == done + 2
    database.close()


def _until_refused(store: SqlStore) -> tuple[int, Unavailable]:
    # Some room is left in pages that were taken before.
    done = 1
    try:
        while done < 10_000:
            with store.begin(replace(now_why("test"), reason="x" * 10_000)) as tx:
                counter = tx.get(Model, "effects")
                tx.record("counter.raised", tx.save(replace(counter, owner=str(done + 1))))
            done += 1
    except Unavailable as error:
        return done, error
    pytest.fail("the disk never was full")


def test_a_blob_on_a_full_disk_is_refused_whole(disk: SmallDisk, tmp_path: Path) -> None:
    blobs = DirectoryBlobs(disk.folder / "blobs")
    kept = blobs.put(b"kept before")
    large = b"x" * (SIZE // 2)
    (tmp_path / "large").write_bytes(large)
    disk.fill()
    with pytest.raises(Unavailable) as told:
        blobs.put(large)
    assert told.value.hint
    with pytest.raises(Unavailable):
        blobs.put_file(tmp_path / "large")
    assert not blobs.has(digest_of(large))
    assert blobs.get(kept) == b"kept before"
    assert [path for path in (disk.folder / "blobs" / "incoming").iterdir()] == []
    disk.free()
    assert blobs.get(blobs.put(large)) == large


def test_a_database_that_was_never_made_for_want_of_room_is_made_later(disk: SmallDisk) -> None:
    database = Database(f"sqlite:///{disk.folder}/lockgate.db")
    disk.fill()
    with pytest.raises(Unavailable):
        migrate(database)
    disk.free()
    migrate(database)
    with SqlStore(database).begin(now_why("test")) as tx:
        tx.record("counter.made", tx.add(a_counter("effects")))
        assert tx.get(Model, "effects").created_at <= datetime.now(UTC)
    database.close()


_WRITERS = {
    "the control plane": "from lockgate import wiring; from lockgate.settings import load; import structlog;"
    "wiring.configure_logging(load({'LOCKGATE_HOME': '/nowhere'}));"
    "say = structlog.get_logger().warning",
    "a gateway": "from lockgate.dataplane.journal import say",
}


@pytest.mark.parametrize("name", _WRITERS)
def test_a_log_line_that_finds_no_room_ends_nothing(name: str) -> None:
    code = f"{_WRITERS[name]}; say('one'); say('two', error='x'); print('lives')"
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, timeout=60, check=False
        )
    assert ended.stdout == b"lives\n"
