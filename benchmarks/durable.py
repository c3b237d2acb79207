"""What a promise costs: answers that leave when their record is on the disk, beside those whose record may follow."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from benchmarks.beside import contestant, json_ask
from benchmarks.changes import callers
from benchmarks.figures import say, show, spread
from benchmarks.gateways import Gateways, gateways, live, route
from benchmarks.model import NAME
from benchmarks.serving import take, tell
from benchmarks.surroundings import frozen
from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.digest import canonical_json
from lockgate.domain.registry.manifest import Manifest, to_plain

#: Requests a second at which waiting times are compared, and connections at which as many as possible are asked.
RATE, CONNECTIONS = 1000, 64
_KINDS = ("async", "durable")


def measure(files: Path, home: Path, package: str, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Waiting times at a steady rate, then as many as it takes; prints and gives the figures."""
    waits: dict[str, list[dict[str, float]]] = {kind: [] for kind in _KINDS}
    rates: list[float] = []
    lost = 0
    with ExitStack() as stack:
        running: dict[str, Gateways] = {}
        for kind in _KINDS:
            routes = [route(NAME, live(_logged(home, package, kind)))]
            running[kind] = stack.enter_context(gateways(routes, home))
        most = contestant("Lockgate, durable", running["durable"], files, json_ask).server
        for number in range(rounds):
            for kind in _KINDS:
                others = [pid for other in _KINDS if other != kind for pid in running[other].pids()]
                with frozen(others), callers(running[kind], files, RATE) as told:
                    time.sleep(seconds)
                took = [1e3 * (at - due) for due, at, status, _ in told if status == 200]
                lost += sum(status != 200 for _, _, status, _ in told)
                p50, p99 = (float(np.quantile(took, share)) for share in (0.5, 0.99))
                waits[kind].append({"p50_ms": p50, "p99_ms": p99})
                say(f"round {number + 1}, {kind}: p50 {p50:.2f} ms, p99 {p99:.2f} ms of {len(took):,}")
            with frozen(running["async"].pids()):
                cell = take(most, [most], CONNECTIONS, number, seconds)
            tell(cell, "durable, ")
            rates.append(cell.load.rate)
    added = {
        figure: [
            with_promise[figure] - without[figure]
            for with_promise, without in zip(waits["durable"], waits["async"], strict=True)
        ]
        for figure in ("p50_ms", "p99_ms")
    }
    rows = [[f"{kind}, p50", spread([wait["p50_ms"] for wait in waits[kind]], "ms", 2)] for kind in _KINDS]
    rows += [[f"{kind}, p99", spread([wait["p99_ms"] for wait in waits[kind]], "ms", 2)] for kind in _KINDS]
    rows += [
        ["added to the median", spread(added["p50_ms"], "ms", 2)],
        ["added to p99", spread(added["p99_ms"], "ms", 2)],
    ]
    rows += [[f"durable answers on {CONNECTIONS} connections", spread(rates, "/s", 0)], ["not answered", str(lost)]]
    show(f"Answers that wait for the disk, {RATE:,} requests a second", ("", ""), rows)
    return {
        "waits": waits,
        "added_p50_ms": median(added["p50_ms"]),
        "added_p99_ms": median(added["p99_ms"]),
        "durable_rate": median(rates),
        "lost": lost,
    }


def _logged(home: Path, package: str, kind: str) -> str:
    """The same package with another promise."""
    blobs = DirectoryBlobs(home / "blobs")
    manifest = msgspec.json.decode(blobs.get(package), type=Manifest)
    changed = replace(manifest, serving=replace(manifest.serving, log=kind))
    return blobs.put(canonical_json(to_plain(changed)))
