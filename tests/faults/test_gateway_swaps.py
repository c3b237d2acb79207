"""New versions one after the other under load: no request fails, and each is answered by one version (G38)."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.domain.routing.table import Role
from tests.faults.wire import Line, Reply, request
from tests.serving import (
    GatewayProcess,
    control_plane,
    gateway,
    keep_regression,
    numbers,
    oip_body,
    reciprocal,
    route,
    table,
    target,
    until,
)

X = 0.75
ASK = request("/v2/models/dose.prod/infer", json.dumps(oip_body([[X]], name="x")).encode())
#: Megabytes may grow by so much between the first swaps and the last: 5 % is what is promised for 500.
MOST_GROWTH = 1.05


@dataclass
class Seen:
    """What callers got: when they asked, when they were answered, with what."""

    replies: list[tuple[float, float, Reply | None]] = field(default_factory=list[tuple[float, float, Reply | None]])


@contextmanager
def _asking(port: int, callers: int = 4) -> Generator[Seen]:
    seen, over = Seen(), threading.Event()

    def ask() -> None:
        with Line(port) as line:
            while not over.is_set():
                asked = time.monotonic()
                found = line.ask(ASK)
                seen.replies.append((asked, time.monotonic(), found))
                if found is None:
                    return
                time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_swap_after_swap_fails_no_request_and_mixes_no_versions(tmp_path: Path, soak: bool) -> None:
    blobs, swaps = DirectoryBlobs(tmp_path / "blobs"), 550 if soak else 40
    # Each answers what no other does: 1 / (x + its number).
    packages = {
        number: keep_regression(blobs, reciprocal(-number), numbers(1), layout="matrix")
        for number in range(1, swaps + 2)
    }
    in_force: dict[int, tuple[float, float]] = {}
    sizes: list[float] = []
    with control_plane() as control:

        def publish(number: int) -> None:
            live = target(packages[number], number, model="dose")
            before = [target(packages[number - 1], number - 1, Role.WARM, 0, model="dose")] if number > 1 else []
            control.publish(table(number, route("dose.prod", live, *before)))

        publish(1)
        with gateway(tmp_path, control.url) as process:
            process.ready()
            with _asking(process.port) as seen:
                in_force[1] = (0.0, math.inf)
                for number in range(2, swaps + 2):
                    published = time.monotonic()
                    publish(number)
                    until(lambda number=number: control.heartbeats[-1]["generation"] == number)
                    in_force[number - 1] = (in_force[number - 1][0], time.monotonic())
                    in_force[number] = (published, math.inf)
                    if number in (50, swaps + 1):
                        sizes.append(_megabytes(process))
    assert len(seen.replies) > swaps
    for asked, answered, found in seen.replies:
        assert found is not None
        assert found.status == 200, found
        number = int(found.headers["x-lockgate-version"].rpartition(":")[2])
        began, ended = in_force[number]
        assert began <= answered
        assert asked <= ended
        document = json.loads(found.body)
        assert (document["model_version"], found.headers["x-lockgate-generation"]) == (str(number), str(number))
        assert math.isclose(document["outputs"][0]["data"][0], 1 / (X + number), rel_tol=1e-9)
    if soak:
        assert sizes[1] <= sizes[0] * MOST_GROWTH


def _megabytes(process: GatewayProcess) -> float:
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))
