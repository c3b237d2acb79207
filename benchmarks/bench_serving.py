"""the data plane beside MLServer and nginx: lanes, protocols, rows, connections, memory, swaps, rollback"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import beside, changes, durable, grpc_beside, model
from benchmarks.figures import console, say, show, spread
from benchmarks.goals import tell_goals
from benchmarks.load import find_wrk
from benchmarks.surroundings import describe, plain_environment

RESULTS = Path(__file__).parent / "results"
Part = Callable[[], Any]


def main() -> int:
    """Measure what was asked for, print it, and keep it as JSON; 1 when a part could not be measured."""
    asked = _arguments()
    machine = describe()
    load = " ".join(f"{share:.1f}" for share in machine["load"])
    console.print(f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, load {load}")
    found: dict[str, Any] = {"at": datetime.now(UTC).isoformat(), "machine": machine, "asked": vars(asked)}
    find_wrk()
    failed = False
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        files, home = Path(folder), Path(folder) / "home"
        say("training the model, and packaging it for each lane")
        model.prepare(files)
        packages = model.package(files, home)
        for name, measure in _parts(asked, files, home, packages).items():
            if asked.only and name not in asked.only:
                continue
            try:
                found[name] = measure()
            except (RuntimeError, subprocess.CalledProcessError) as error:
                # The other figures are worth having all the same.
                console.print(f"[red]{name} could not be measured: {error}[/red]", soft_wrap=True)
                found[name] = {"failed": str(error)}
                failed = True
    found["goals"] = tell_goals({name: found[name] for name in NAMES if name in found})
    _keep(found)
    return int(failed)


def _parts(asked: Any, files: Path, home: Path, packages: dict[str, str]) -> dict[str, Part]:
    compiled, python = packages["compiled"], packages["python"]
    wide = beside.Load(rounds=asked.rounds, seconds=asked.seconds, connections=asked.connections, rows=asked.rows)
    few = beside.Load(rounds=asked.rounds, seconds=asked.seconds, connections=(max(asked.connections),), rows=(1,))
    some = beside.Load(rounds=asked.rounds, seconds=asked.seconds, connections=(16,), rows=asked.rows)
    return {
        "compiled": partial(beside.compiled, files, home, compiled, wide),
        "python": partial(beside.python, files, home, python, wide),
        "monitoring": partial(beside.monitoring, files, home, compiled, few),
        "many": partial(_many, files, home, compiled, asked),
        "binary": partial(beside.binary, files, home, compiled, some),
        "grpc": partial(grpc_beside.measure, files, home, compiled, wide),
        "workers": partial(beside.workers, files, home, compiled, some),
        "models": partial(changes.memory, files, home, compiled, models=asked.models),
        "swaps": partial(changes.swaps, files, home, compiled, count=asked.swaps),
        "rollback": partial(changes.rollback, files, home, compiled, rounds=asked.rounds),
        "durable": partial(durable.measure, files, home, compiled, rounds=asked.rounds, seconds=asked.seconds),
    }


NAMES = (
    "compiled",
    "python",
    "monitoring",
    "many",
    "binary",
    "grpc",
    "workers",
    "models",
    "swaps",
    "rollback",
    "durable",
)


def _many(files: Path, home: Path, package: str, asked: Any) -> dict[str, Any]:
    """A request of 1,000 rows on one connection, beside decoding and answering it in a process without a server."""
    with beside.lockgate("Lockgate", package, home, files) as own:
        ask = own.ask(1000)
        if ask is None:
            raise RuntimeError("nothing to ask")
        body = files / "many.json"
        body.write_bytes(ask.sent)
        served: list[float] = []
        alone: list[float] = []
        for number in range(asked.rounds):
            served.append(own.server.load(ask, 1, asked.seconds).p50_ms)
            command = (sys.executable, "-m", "benchmarks.inprocess", body, files / "model.onnx", str(asked.seconds))
            told = subprocess.run(command, capture_output=True, text=True, check=True, env=plain_environment())
            alone.append(json.loads(told.stdout)["p50_ms"])
            say(f"round {number + 1}: served {served[-1]:.2f} ms, in process {alone[-1]:.2f} ms")
    ratios = [a / b for a, b in zip(served, alone, strict=True)]
    rows = [
        ["Lockgate, one connection, p50", spread(served, "ms", 2)],
        ["decode (simdjson) and ONNX Runtime in process, p50", spread(alone, "ms", 2)],
        ["ratio", spread(ratios, "×", 2)],
    ]
    show("1,000 rows a request, JSON", ("", ""), rows)
    return {"served_ms": served, "alone_ms": alone, "ratio": median(ratios)}


def _keep(found: dict[str, Any]) -> None:
    found["machine"]["load_after"] = os.getloadavg()
    RESULTS.mkdir(exist_ok=True)
    place = RESULTS / f"serving-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    place.write_text(json.dumps(found, indent=1))
    console.print(f"\nall figures: {place}", soft_wrap=True)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times everything is measured (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of load on each server in each round (4)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64], help="to ask on (1 16 64)")
    parser.add_argument("--rows", type=int, nargs="+", default=list(beside.ROWS), help="a request (1 100 1000)")
    parser.add_argument("--models", type=int, default=100, help="in one gateway (100)")
    parser.add_argument("--swaps", type=int, default=500, help="under load (500)")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="parts to measure; all when none is named")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
