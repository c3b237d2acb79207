"""What goes on beside the requests: models that come and go, and a rollback, seen by callers at a steady rate."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.beside import ENDPOINT, rows_of
from benchmarks.figures import say, show, spread
from benchmarks.gateways import Gateways, gateways, live, route, warm
from benchmarks.model import NAME
from benchmarks.peers import oip_rows
from benchmarks.running import HOST
from benchmarks.surroundings import NOISE, Watch, rss_mb
from lockgate.domain.routing.table import EndpointRoute

CONNECTIONS = 8
#: When it was due, when its answer was here, its status, the version that answered; see `benchmarks.callers`.
Told = tuple[float, float, int, str]
_SETTLED = 1.0
#: Swaps after which memory is looked at first: caches and pools have filled by then.
_WARM_UP = 50
#: Seconds until what was counted of versions that are gone is told, and forgotten.
_QUIET = 3.0
#: Times that the last model is loaded: each takes a few milliseconds, and a p99 wants many requests.
_LOADS = 50


@contextmanager
def callers(running: Gateways, files: Path, rate: int) -> Generator[list[Told]]:
    """Callers while the block runs; what they saw is in the list afterwards."""
    order = {
        "host": HOST,
        "port": running.port,
        "path": f"/v2/models/{ENDPOINT}/infer",
        "headers": dict(running.headers),
        "body": json.dumps(oip_rows(rows_of(files, 1))),
        "rate": rate,
        "connections": CONNECTIONS,
    }
    told: list[Told] = []
    process = subprocess.Popen(
        (sys.executable, "-m", "benchmarks.callers"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdin is not None:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        time.sleep(_SETTLED)
        yield told
    finally:
        said, _ = process.communicate(timeout=60)
    told += [cast(Told, tuple(each)) for each in json.loads(said)]


def memory(files: Path, home: Path, package: str, *, models: int) -> dict[str, Any]:
    """What a worker weighs with one small model and with many, and what the last of them costs the others' callers."""
    routes = [route(f"{NAME}-{at}", live(package, model=f"{NAME}-{at}")) for at in range(1, models - 1)]
    with gateways([route(NAME, live(package))], home) as running:
        time.sleep(_SETTLED)
        one = running.memory()[0]
        routes = [_copy(running, each, package, at) for at, each in enumerate(routes)]
        first = route(NAME, live(package))
        loading = time.monotonic()
        running.control.publish(first, *routes)
        loaded = running.everywhere() - loading
        say(f"{models - 1} models loaded in {loaded:.1f} s")
        watch = Watch(running.pids())
        windows: list[tuple[float, float]] = []
        with callers(running, files, 400) as told:
            for again in range(_LOADS):
                last = _copy(running, route(f"{NAME}-last", live("", model=f"{NAME}-last")), package, 1000 + again)
                began = running.control.publish(first, *routes, last)
                windows.append((began, running.everywhere()))
                time.sleep(0.2)
        _, others = watch.end(running.pids())
        many = running.memory()[0]
    during = [at - due for due, at, _, _ in told if any(a <= at and due <= b for a, b in windows)]
    calm = [at - due for due, at, _, _ in told if not any(a <= at and due <= b for a, b in windows)]
    took = [b - a for a, b in windows]
    calm_ms, loading_ms = _p99(calm), _p99(during)
    errors = sum(status != 200 for _, _, status, _ in told)
    found = {
        "models": models,
        "memory_mb": one,
        "memory_many_mb": many,
        "load_s": took,
        "p99_calm_ms": calm_ms,
        "p99_loading_ms": loading_ms,
        "asked_while_loading": len(during),
        "errors": errors,
        "others": others,
    }
    rows = [
        ["a worker with one small model, PSS", f"{one:.0f} MB"],
        [f"a worker with {models} models, PSS", f"{many:.0f} MB"],
        [f"from publishing the {models}th to being in force, {_LOADS} times", spread(took, "s", 3)],
        ["p99 of another model's callers, calm", f"{calm_ms:.2f} ms"],
        [f"p99 of those asked meanwhile ({len(during):,})", f"{loading_ms:.2f} ms"],
        ["ratio", f"{loading_ms / calm_ms:.2f} ×"],
        ["errors", str(errors)],
        ["others held", f"{others:.2f} cores" + (" (noisy)" if others > NOISE else "")],
    ]
    show(f"Memory, and {models} models in one gateway", ("", ""), rows)
    return found


def swaps(files: Path, home: Path, package: str, *, count: int) -> dict[str, Any]:
    """One new version after the other, each loaded anew and the one before kept warm, under callers."""
    with gateways([route(NAME, live(package))], home) as running:
        packages = [running.copy(package, at) for at in range(count + _WARM_UP)]
        before, sizes = live(package), list[float]()
        published: dict[str, tuple[float, float]] = {before.version: (0.0, float("inf"))}
        with callers(running, files, 100) as told:
            for at, fresh in enumerate(packages):
                if at == _WARM_UP:
                    time.sleep(_QUIET)
                    sizes.append(rss_mb(running.processes[0].pid))
                target = live(fresh, at + 2)
                old = warm(before.package, before.number)
                began = running.control.publish(route(NAME, target, old))
                taken = running.everywhere()
                published[before.version] = (published[before.version][0], taken)
                published[target.version] = (began, float("inf"))
                before = target
            time.sleep(_QUIET)
            sizes.append(rss_mb(running.processes[0].pid))
    wrong = sum(
        status == 200 and not (published[version][0] <= at and due <= published[version][1])
        for due, at, status, version in told
    )
    found = {
        "swaps": count,
        "asked": len(told),
        "errors": sum(status != 200 for _, _, status, _ in told),
        "by_a_version_not_in_force": wrong,
        "memory_mb": sizes,
        "growth": sizes[1] / sizes[0] - 1,
        "slowest_ms": max(at - due for due, at, _, _ in told) * 1e3,
        "seconds": told[-1][1] - told[0][0],
    }
    rows = [
        ["requests asked meanwhile, 100 a second", f"{len(told):,}"],
        ["errors", str(found["errors"])],
        ["answered by a version that was not in force", str(wrong)],
        [f"RSS after {_WARM_UP} swaps, and after {count} more", f"{sizes[0]:.1f} and {sizes[1]:.1f} MB"],
        ["growth", f"{found['growth']:+.1%}"],
        ["slowest answer", f"{found['slowest_ms']:.0f} ms"],
    ]
    show(f"{count} swaps under load in {found['seconds']:.0f} s", ("", ""), rows)
    return found


def rollback(files: Path, home: Path, package: str, *, rounds: int) -> dict[str, Any]:
    """From publishing the route back to the warm version to the last answer of the one that is left."""
    with gateways([route(NAME, live(package))], home) as running:
        good, bad = package, running.copy(package, 1)
        took: list[float] = []
        lost = asked = 0
        for _ in range(max(5, rounds)):
            running.control.publish(route(NAME, live(bad, 2), warm(good, 1)))
            running.everywhere()
            with callers(running, files, 400) as told:
                time.sleep(0.5)
                began = running.control.publish(route(NAME, live(good, 1), warm(bad, 2)))
                time.sleep(0.5)
            last = max((at for _, at, _, version in told if version == f"{NAME}:2"), default=began)
            took.append(max(0.0, last - began))
            lost += sum(status != 200 for _, _, status, _ in told)
            asked += len(told)
    rows = [["last answer of the old version after", spread([1e3 * each for each in took], "ms", 1)]]
    rows += [["asked, 400 a second", f"{asked:,}"], ["not answered, or with an error", str(lost)]]
    show(f"Rollback to the warm version, {len(took)} times", ("", ""), rows)
    return {"seconds": took, "asked": asked, "errors": lost}


def _copy(running: Gateways, of: EndpointRoute, package: str, number: int) -> EndpointRoute:
    return route(of.model, live(running.copy(package, number), model=of.model))


def _p99(seconds: list[float]) -> float:
    return float(np.quantile(seconds, 0.99)) * 1e3 if seconds else 0.0
