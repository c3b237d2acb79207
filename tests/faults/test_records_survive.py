"""Whatever dies or fills up: a prediction that was promised to be on record is, exactly once."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from deltalake import DeltaTable

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.delta.predictions import DeltaPredictions
from lockgate.adapters.segments.store import SegmentFolder
from lockgate.workflows.compact_log import compact_log
from tests.faults.doomed import carry_for_ever, end, nursery, record_for_ever
from tests.faults.small_disk import SmallDisk, a_small_disk
from tests.logged import logged_in
from tests.serving import (
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    gateway,
    keep_classifier,
    oip_body,
    route,
    served_as,
    table,
    target,
    until,
)

STRICT, LAZY = "/v2/models/strict.prod/infer", "/v2/models/lazy.prod/infer"
ROW = oip_body([[0.1, 0.2, 0.3, 0.4]])
CALLERS = 6


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def control(home: Path) -> Iterator[ControlPlane]:
    blobs = DirectoryBlobs(home / "blobs")
    package = keep_classifier(blobs)
    strict = served_as(blobs, package, log="durable")
    with control_plane() as control:
        control.publish(
            table(
                3,
                route("strict.prod", target(strict, 1, model="strict")),
                route("lazy.prod", target(package, 1, model="lazy")),
            )
        )
        yield control


@dataclass
class Promises:
    """What callers were told."""

    ids: list[str] = field(default_factory=list[str])
    stopped: bool = False

    def ask(self, process: GatewayProcess) -> None:
        """Ask one after the other until the gateway dies."""
        body, headers = json.dumps(ROW), {"authorization": f"Bearer {TOKEN}"}
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
        try:
            while not self.stopped:
                connection.request("POST", STRICT, body, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                self.ids.append(answer.headers["x-lockgate-prediction-id"])
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def keep_killing_gateways(home: Path, control: ControlPlane, promises: Promises, until: float, seed: int) -> int:
    """Start a gateway, have it asked, kill it in the middle, again and again; gives how many died."""
    chance = random.Random(seed)
    deaths = 0
    # On a busy machine a gateway may take all of the time to start.
    while deaths == 0 or time.monotonic() < until:
        with gateway(home, control.url, LOCKGATE_WORKER=str(seed)) as process:
            process.ready()
            callers = [threading.Thread(target=promises.ask, args=(process,)) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            time.sleep(chance.uniform(0.05, 1.0))
        deaths += 1
        for caller in callers:
            caller.join()
    return deaths


def keep_killing_compactors(home: Path, until: float) -> int:
    chance = random.Random(7)
    deaths = 0
    while deaths < 3 or time.monotonic() < until:
        process = nursery().Process(target=carry_for_ever, args=(home,), daemon=True)
        process.start()
        time.sleep(chance.uniform(0.5, 1.5))
        end(process)
        deaths += 1
    return deaths


def keep_killing_writers(home: Path, diary: Path, until: float, seed: int) -> int:
    """As gateways die, but many more of them in the same time."""
    chance = random.Random(seed)
    deaths = 0
    while time.monotonic() < until:
        source = f"{seed}-{deaths}"
        process = nursery().Process(target=record_for_ever, args=(home, source, diary), daemon=True)
        process.start()
        time.sleep(chance.uniform(0.02, 0.2))
        end(process)
        deaths += 1
    return deaths


def kept_in(home: Path) -> Counter[str]:
    """How often each prediction is in the table, once all that waits was carried there."""
    compact_log(SegmentFolder(home / "log"), DeltaPredictions(home / "predictions"))
    rows = DeltaTable(home / "predictions").to_pyarrow_table(columns=["prediction_id"])
    return Counter(rows["prediction_id"].to_pylist())


@pytest.mark.timeout(1200)
def test_every_promised_record_is_in_the_table_once_however_many_writers_and_compactors_are_killed(
    home: Path, tmp_path: Path, soak: bool
) -> None:
    diary, last = tmp_path / "diary", time.monotonic() + (300 if soak else 4)
    deaths: list[int] = []

    def kill_writers(seed: int) -> None:
        deaths.append(keep_killing_writers(home, diary, last, seed))

    killers = [threading.Thread(target=kill_writers, args=(seed,)) for seed in (1, 2)]
    for killer in killers:
        killer.start()
    compactors = keep_killing_compactors(home, last)
    for killer in killers:
        killer.join()
    kept = kept_in(home)
    # A line that its writer died in the middle of was promised to nobody.
    promised = [line for line in diary.read_text().splitlines() if len(line) == 26]
    print(f"{len(promised)} promised, {kept.total()} kept, {sum(deaths)} and {compactors} compactors died")
    assert sum(deaths) >= 4
    assert len(promised) > 100
    assert [id for id in promised if kept[id] != 1] == []
    assert [id for id, count in kept.items() if count > 1] == []


@pytest.mark.timeout(1200)
def test_every_promised_record_is_in_the_table_once_when_gateways_and_compactors_are_killed(
    home: Path, control: ControlPlane, soak: bool
) -> None:
    promises, last = Promises(), time.monotonic() + (300 if soak else 5)
    deaths: list[int] = []

    def kill_gateways(seed: int) -> None:
        deaths.append(keep_killing_gateways(home, control, promises, last, seed))

    killers = [threading.Thread(target=kill_gateways, args=(seed,)) for seed in (1, 2)]
    for killer in killers:
        killer.start()
    compactors = keep_killing_compactors(home, last)
    for killer in killers:
        killer.join()
    kept = kept_in(home)
    print(f"{len(promises.ids)} promised, {kept.total()} kept, {sum(deaths)} and {compactors} compactors died")
    assert len(deaths) == 2
    assert len(promises.ids) > 100
    assert [id for id in promises.ids if kept[id] != 1] == []
    assert [id for id, count in kept.items() if count > 1] == []


def logged(home: Path) -> list[str]:
    return [row.prediction_id for row in logged_in(home / "log")]


def counted(client: httpx.Client, name: str) -> float:
    [line] = [line for line in client.get("/metrics").text.splitlines() if line.split(" ")[0].split("{")[0] == name]
    return float(line.rpartition(" ")[2])


@pytest.fixture
def disk(tmp_path: Path, home: Path) -> Iterator[SmallDisk]:
    """The prediction log's own, which is small."""
    with a_small_disk(tmp_path / "disk") as disk:
        (home / "log").symlink_to(disk.folder)
        yield disk


def test_on_a_full_disk_promises_are_refused_others_answered_and_all_is_well_once_there_is_room(
    home: Path, control: ControlPlane, disk: SmallDisk
) -> None:
    with gateway(home, control.url) as process, process.ready().client() as client:
        promised = [client.post(STRICT, json=ROW).raise_for_status().headers["x-lockgate-prediction-id"]]
        disk.fill(process.process.pid)
        # Room may be left in a page that was taken before.
        refused = until(lambda: _refused(client, promised))
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("not_recorded", "1")
        assert [client.post(LAZY, json=ROW).status_code for _ in range(20)] == [200] * 20
        assert counted(client, "lockgate_log_dropped_total") >= 20
        assert counted(client, "lockgate_log_withheld_total") >= 1
        assert client.get("/v2/health/live").status_code == 200
        disk.free(process.process.pid)
        again = until(lambda: _answered(client))
        promised.append(again.headers["x-lockgate-prediction-id"])
    found = logged(home)
    assert [id for id in promised if found.count(id) != 1] == []


def _refused(client: httpx.Client, promised: list[str]) -> httpx.Response | None:
    answer = client.post(STRICT, json=ROW)
    if answer.status_code == 200:
        promised.append(answer.headers["x-lockgate-prediction-id"])
        return None
    assert answer.status_code == 503
    return answer


def _answered(client: httpx.Client) -> httpx.Response | None:
    answer = client.post(STRICT, json=ROW)
    return answer if answer.status_code == 200 else None


def test_while_nobody_empties_the_log_it_stays_within_its_bound_and_then_goes_on(
    home: Path, control: ControlPlane
) -> None:
    bound = 300_000
    rows = oip_body([[0.1, 0.2, 0.3, 0.4]] * 500)
    segments = SegmentFolder(home / "log")
    promised: list[str] = []
    with gateway(home, control.url, LOCKGATE_LOG_MAX_BYTES=str(bound)) as process, process.ready().client() as client:
        full = 0
        for _ in range(100):
            assert client.post(LAZY, json=rows).status_code == 200
            answer = client.post(STRICT, json=ROW)
            assert answer.status_code in (200, 503)
            full += answer.status_code == 503
            if answer.status_code == 200:
                promised.append(answer.headers["x-lockgate-prediction-id"])
        assert full
        assert 0.8 * bound < segments.size() < 1.1 * bound
        assert counted(client, "lockgate_log_dropped_total") > 0
        # Its segment is sealed by its age; then somebody can carry it away.
        log = DeltaPredictions(home / "predictions")
        assert until(lambda: compact_log(segments, log).segments)
        promised.append(until(lambda: _answered(client)).headers["x-lockgate-prediction-id"])
    kept = kept_in(home)
    assert [id for id in promised if kept[id] != 1] == []
