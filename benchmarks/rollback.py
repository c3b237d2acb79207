"""From `lockgate rollback` to the last answer of the bad version, while callers keep asking."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from benchmarks import model
from benchmarks.figures import say, show, spread
from benchmarks.live import ANSWERED, fresh_platform, submit
from benchmarks.peers import oip_body
from benchmarks.running import HOST, Platform
from benchmarks.surroundings import NOISE, Watch, plain_environment

RATE, CONNECTIONS = 200, 16
ENDPOINT = f"{model.NAME}.dev"
_BEFORE, _AFTER = 2.0, 2.5


def measure(files: Path, *, rounds: int, workers: int) -> dict[str, Any]:
    """Submit two versions, and roll back from the second again and again; prints and gives the figures."""
    submits: list[dict[str, float]] = []
    trials: list[dict[str, Any]] = []
    with fresh_platform(workers=workers) as platform:
        for number in range(max(2, rounds)):
            seed = model.SEEDS[number % 2]
            registered = model.log(platform.url, platform.token, seed)
            submits.append(submit(platform, files, registered))
            say(f"submission {number + 1}: first answer in dev after {submits[-1][ANSWERED]:.2f} s")
        bad, good = f"{model.NAME}:{max(2, rounds)}", f"{model.NAME}:{max(2, rounds) - 1}"
        for number in range(rounds):
            for way in ("command", "SDK"):
                trials.append(_trial(platform, files, way, bad, good))
                trial = trials[-1]
                say(f"rollback {number + 1} by the {way}: {trial['seconds']:.3f} s, {trial['lost']} lost")
    _show(submits, trials, workers)
    return {"submits": submits, "rollbacks": trials}


def _trial(platform: Platform, files: Path, way: str, bad: str, good: str) -> dict[str, Any]:
    with platform.client() as client:
        if client.endpoint(ENDPOINT)["stable"] != bad:
            client.rollback(ENDPOINT, reason="the next measurement", to=bad)
            time.sleep(1.0)
        watch = Watch(platform.pids())
        with _callers(platform, files) as told:
            time.sleep(_BEFORE)
            began = time.monotonic()
            if way == "command":
                _command(platform, good)
            else:
                client.rollback(ENDPOINT, reason="measured", to=good)
            returned = time.monotonic() - began
            time.sleep(_AFTER)
        _, others = watch.end(platform.pids())
    # Two answers from one moment cannot be told apart, so the last bad one counts from when the command was given.
    last_bad = max((at for _, at, _, version in told if version == bad), default=began)
    strangers = [version for _, _, status, version in told if status == 200 and version not in (bad, good)]
    return {
        "way": way,
        "seconds": last_bad - began,
        "returned": returned,
        "sent": len(told),
        "answered": sum(status == 200 for _, _, status, _ in told),
        "lost": sum(status == 0 for _, _, status, _ in told),
        "refused": sum(status not in (0, 200) for _, _, status, _ in told) + len(strangers),
        "by_good": sum(version == good for _, _, _, version in told),
        "slowest_ms": max(at - due for due, at, _, _ in told) * 1e3,
        "others": others,
    }


@contextmanager
def _callers(platform: Platform, files: Path) -> Generator[list[tuple[float, float, int, str]]]:
    """Callers while the block runs; what they saw is in the list afterwards."""
    row = json.loads((files / "rows.json").read_text())["rows"][0]
    order = {
        "host": HOST,
        "port": platform.port + 1,
        "path": f"/v2/models/{ENDPOINT}/infer",
        "headers": {"authorization": f"Bearer {platform.token}"},
        "body": json.dumps(oip_body(row)),
        "rate": RATE,
        "connections": CONNECTIONS,
    }
    told: list[tuple[float, float, int, str]] = []
    process = subprocess.Popen(
        (sys.executable, "-m", "benchmarks.callers"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdin is not None:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        yield told
    finally:
        said, _ = process.communicate(timeout=60)
    told += [cast(tuple[float, float, int, str], tuple(each)) for each in json.loads(said)]


def _command(platform: Platform, to: str) -> None:
    words = ("rollback", ENDPOINT, "--to", to, "--reason", "measured")
    env = {**plain_environment(), "LOCKGATE_URL": platform.url, "LOCKGATE_TOKEN": platform.token}
    done = subprocess.run(
        (sys.executable, "-m", "lockgate.cli.main", *words), env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"lockgate rollback: {done.stderr or done.stdout}")


def _show(submits: list[dict[str, float]], trials: list[dict[str, Any]], workers: int) -> None:
    rows = [[step, spread([submitted[step] for submitted in submits], "s", 2)] for step in submits[0]]
    show(f"From lockgate.submit to the first answer in dev, {len(submits)} times", ("after", "seconds"), rows)
    rows = []
    for way in ("command", "SDK"):
        own = [trial for trial in trials if trial["way"] == way]
        noisy = sum(trial["others"] > NOISE for trial in own)
        rows.append(
            [
                f"lockgate rollback, {way}",
                spread([trial["seconds"] for trial in own], "s", 3),
                spread([trial["returned"] for trial in own], "s", 3),
                f"{sum(trial['answered'] for trial in own):,} of {sum(trial['sent'] for trial in own):,}",
                str(sum(trial["lost"] for trial in own)),
                str(sum(trial["refused"] for trial in own)),
                spread([trial["slowest_ms"] for trial in own], "ms", 0),
                f"{noisy} of {len(own)}" if noisy else "none",
            ]
        )
    columns = ("", "last bad answer after", "returned after", "answered", "lost", "errors", "slowest answer", "noisy")
    show(f"Rollback at {RATE} requests/s on {CONNECTIONS} connections, {workers} gateways", columns, rows)
