"""What the data plane shall reach, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.figures import show

Cells = list[dict[str, Any]]


@dataclass(frozen=True)
class Goal:
    """A figure, its bound, and which side of it is good."""

    what: str
    found: float
    bound: float
    least: bool
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.least else self.found <= self.bound


def tell_goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Print those that were measured in this run, and give them."""
    goals = list(_goals({name: part for name, part in found.items() if "failed" not in part}))
    if goals:
        rows = [
            [
                goal.what,
                f"{goal.found:.2f} {goal.unit}",
                f"{'at least' if goal.least else 'at most'} {goal.bound:g} {goal.unit}",
                "met" if goal.met else "missed",
            ]
            for goal in goals
        ]
        show("Goals (medians of ratios within one round)", ("", "found", "goal", ""), rows)
    return [{"what": goal.what, "found": goal.found, "bound": goal.bound, "met": goal.met} for goal in goals]


def _goals(found: dict[str, Any]) -> Iterator[Goal]:
    yield from _beside(found)
    if "many" in found:
        yield Goal("1,000 rows over decoding and ONNX Runtime in process", found["many"]["ratio"], 1.3, False)
    if "models" in found:
        part = found["models"]
        yield Goal("memory of a worker with one small model", part["memory_mb"], 150, False, "MB")
        if part["p99_calm_ms"]:
            ratio = part["p99_loading_ms"] / part["p99_calm_ms"]
            yield Goal(f"p99 of the others while the {part['models']}th is loaded", ratio, 2, False)
    if "swaps" in found:
        yield Goal(f"errors in {found['swaps']['swaps']} swaps", found["swaps"]["errors"], 0, False, "")
        yield Goal("growth of memory in them", 100 * found["swaps"]["growth"], 5, False, "%")
    if "rollback" in found:
        worst = 1e3 * max(found["rollback"]["seconds"])
        yield Goal("last answer of the old version after a rollback, the longest", worst, 250, False, "ms")
    if "durable" in found:
        part = found["durable"]
        yield Goal(
            "added to the median by waiting for the disk, 1,000 requests/s", part["added_p50_ms"], 8, False, "ms"
        )
        yield Goal("added to p99 by it", part["added_p99_ms"], 15, False, "ms")
        yield Goal("durable records a second and worker", part["durable_rate"], 10_000, True, "/s")


def _beside(found: dict[str, Any]) -> Iterator[Goal]:
    if "compiled" in found:
        cells, most = found["compiled"], _most(found["compiled"])
        yield from _ratio("compiled lane over MLServer ONNX", cells, "Lockgate", "MLServer ONNX", most, 1, 25)
        yield from _ratio("compiled lane over nginx", cells, "Lockgate", "nginx, static answer", most, 1, 0.4)
        for connections in sorted({cell["connections"] for cell in cells}):
            own = _load(cells, "Lockgate", connections, "p99_ms")
            other = _load(cells, "MLServer ONNX", connections, "p50_ms")
            if own and other:
                yield Goal(f"p99 over MLServer's p50, {connections} connections", own / other, 1, False)
    for part, what, own, other, bound in (
        ("python", "python lane over MLServer sklearn", "Lockgate, python lane", "MLServer sklearn", 10),
        ("python", "python lane over MLServer on the same pyfunc", "Lockgate, by column", "MLServer pyfunc", 3),
        ("monitoring", "with all monitoring over without", "Lockgate", "Lockgate, not monitored", 0.85),
        ("grpc", "gRPC over MLServer's", "Lockgate", "MLServer ONNX", 5),
    ):
        if part in found:
            yield from _ratio(what, found[part], own, other, _most(found[part]), 1, bound)
    if "binary" in found:
        yield from _ratio("binary over JSON", found["binary"], "Lockgate, binary", "Lockgate, JSON", 16, 1000, 3)
    if "workers" in found:
        # One row keeps the load generator as busy as a worker; here it leaves the second core alone.
        names = ("Lockgate, 2 workers", "Lockgate, 1 worker")
        yield from _ratio("two workers over one", found["workers"], *names, 16, 100, 1.7)


def _most(cells: Cells) -> int:
    return max(cell["connections"] for cell in cells)


def _ratio(what: str, cells: Cells, own: str, other: str, connections: int, rows: int, bound: float) -> Iterator[Goal]:
    rates = {
        (cell["server"], cell["round"]): cell["rate"]
        for cell in cells
        if (cell["connections"], cell["rows"]) == (connections, rows)
    }
    rounds = {number for _, number in rates}
    ratios = [
        rates[own, number] / rates[other, number]
        for number in rounds
        if (own, number) in rates and rates.get((other, number))
    ]
    if ratios:
        unit = "row" if rows == 1 else "rows"
        yield Goal(f"{what}, {connections} connections, {rows:,} {unit}", median(ratios), bound, True)


def _load(cells: Cells, server: str, connections: int, figure: str) -> float:
    values = [
        cell["load"][figure]
        for cell in cells
        if (cell["server"], cell["connections"], cell["rows"]) == (server, connections, 1)
    ]
    return median(values) if values else 0.0
