"""How long `lockgate up` takes: in a new home, and again in the same; and what its processes weigh."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import say, show, spread
from benchmarks.running import Platform
from benchmarks.surroundings import NOISE, Watch

#: Seconds after which memory is looked at: by then the pre-warmed child has its imports behind it.
_SETTLED = 5.0


def measure(*, rounds: int, workers: int) -> dict[str, Any]:
    """Start in a new home and once more, so many times; prints and gives the figures."""
    starts: list[dict[str, Any]] = []
    memory: list[dict[str, float]] = []
    for number in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="lockgate-bench-"))
        platform = Platform(folder / "home", workers=workers)
        try:
            for kind in ("cold", "warm"):
                starts.append(_start(platform, kind, number))
                if kind == "warm":
                    memory.append(platform.memory_after(_SETTLED))
                starts[-1]["stop"] = platform.stop()
        finally:
            platform.stop()
            shutil.rmtree(folder, ignore_errors=True)
    _show(starts, memory, workers)
    return {"starts": starts, "memory_mb": memory}


def _start(platform: Platform, kind: str, number: int) -> dict[str, Any]:
    watch = Watch([])
    platform.start()
    _, others = watch.end(platform.pids())
    mark = " *" if others > NOISE else ""
    say(f"round {number + 1}, {kind}: ready in {platform.ready:.2f} s, MLflow in {platform.mlflow_ready:.2f} s{mark}")
    parts = dict(platform.parts)
    return {
        "kind": kind,
        "round": number,
        "ready": platform.ready,
        "mlflow": platform.mlflow_ready,
        "parts": parts,
        "cpu": platform.cpu_when_ready,
        "others": others,
    }


def _show(starts: list[dict[str, Any]], memory: list[dict[str, float]], workers: int) -> None:
    rows: list[list[str]] = []
    for kind in ("cold", "warm"):
        own = [start for start in starts if start["kind"] == kind]
        noisy = sum(start["others"] > NOISE for start in own)
        rows.append(
            [
                "new home" if kind == "cold" else "same home again",
                spread([start["ready"] for start in own], "s", 2),
                spread([start["cpu"] for start in own], "s", 2),
                spread([start["mlflow"] for start in own], "s", 1),
                spread([start["stop"] for start in own], "s", 1),
                f"{noisy} of {len(own)}" if noisy else "none",
            ]
        )
    columns = ("lockgate up", "ready (all but MLflow)", "CPU until then", "MLflow ready", "stopped again in", "noisy")
    show(f"Start-up, {workers} gateways", columns, rows)
    warm = [start for start in starts if start["kind"] == "warm"]
    names = list(warm[0]["parts"])
    weights = [
        [
            name,
            spread([start["parts"].get(name, 0.0) for start in warm], "s", 2),
            spread([m[name] for m in memory], "MB", 0),
        ]
        for name in names
    ]
    total = ["all, supervisor and its guard included", "", spread([m["all"] for m in memory], "MB", 0)]
    show("Each process: ready after (same home again), memory (PSS)", ("process", "ready", "memory"), [*weights, total])
