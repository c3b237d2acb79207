"""start-up, submit-to-live, one-row inference beside MLServer and MLflow, rollback under load"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import model, rollback, serving, startup
from benchmarks.figures import console, say
from benchmarks.load import find_wrk
from benchmarks.surroundings import describe

RESULTS = Path(__file__).parent / "results"
PARTS = ("startup", "rollback", "serving")


def main() -> None:
    """Measure what was asked for, print it, and keep it as JSON."""
    asked = _arguments()
    parts = asked.only or PARTS
    workers = len(os.sched_getaffinity(0))
    machine = describe()
    load = " ".join(f"{share:.1f}" for share in machine["load"])
    console.print(f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, load {load}")
    found: dict[str, Any] = {"at": datetime.now(UTC).isoformat(), "machine": machine}
    if "serving" in parts:
        find_wrk()
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        files = Path(folder)
        if parts != ["startup"]:
            say("training the model")
            model.prepare(files)
        try:
            if "startup" in parts:
                found["startup"] = startup.measure(rounds=asked.rounds, workers=workers)
            if "rollback" in parts:
                found["rollback"] = rollback.measure(files, rounds=asked.rounds, workers=workers)
            if "serving" in parts:
                found["serving"] = serving.measure(
                    files,
                    rounds=asked.rounds,
                    seconds=asked.seconds,
                    beside=not asked.alone,
                    connections=asked.connections,
                )
        finally:
            _keep(found)


def _keep(found: dict[str, Any]) -> None:
    """Write down what there is: also what was measured before something went wrong."""
    found["machine"]["load_after"] = os.getloadavg()
    RESULTS.mkdir(exist_ok=True)
    place = RESULTS / f"path-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    place.write_text(json.dumps(found, indent=1))
    console.print(f"\nall figures: {place}", soft_wrap=True)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_path", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times everything is measured (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load on each server in each round (5)")
    parser.add_argument(
        "--connections", type=int, nargs="+", default=list(serving.CONNECTIONS), help="to ask servers on (1 16 64)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to measure; all when none is named")
    parser.add_argument("--alone", action="store_true", help="do not install and measure the other servers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
