"""Runs the gauntlet, prints its tables, and writes them into docs/gauntlet.md."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.figures import console, say
from benchmarks.gauntlet import faults, tables
from benchmarks.gauntlet.judging import Court, Judged
from benchmarks.gauntlet.sound import sound
from benchmarks.gauntlet.telling import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gauntlet.md"


def main() -> int:
    """1 when a goal is missed."""
    asked = _arguments()
    began = datetime.now(UTC)
    found: list[Judged] = []
    with ProcessPoolExecutor(max_workers=asked.processes) as pool:
        parts = [
            pool.submit(judge_part, name, part, asked.sound)
            for name in asked.tables
            for part in (["faulty", "sound"] if asked.sound else ["faulty"])
        ]
        for number, done in enumerate(as_completed(parts), 1):
            found += done.result()
            say(f"{number} of {len(parts)} parts, {len(found)} candidates")
    seconds = (datetime.now(UTC) - began).total_seconds()
    text, reached = page(found, began, seconds)
    console.print(text, markup=False, soft_wrap=True)
    if asked.write:
        PAGE.write_text(text, encoding="utf-8")
    return 0 if reached else 1


def judge_part(name: str, part: str, count: int) -> list[Judged]:
    """All faulty candidates of one table, or its sound ones; in a process of the pool."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # Threads of two processes that fight for two cores make boosting many times slower; jobs run on one as well.
    with tempfile.TemporaryDirectory(prefix="lockgate-gauntlet-") as home, threadpool_limits(1):
        court = Court(tables.load(name), Path(home))
        return list(_faulty(court) if part == "faulty" else _sound(court, count))


def _faulty(court: Court) -> Iterable[Judged]:
    for kind in faults.names():
        made = faults.make(kind, court.table, court.split, court.chance(kind))
        if made is not None:
            yield court.judge(kind, made, sound=False)


def _sound(court: Court, count: int) -> Iterable[Judged]:
    for kind, made in sound(court.table, court.split, count):
        yield court.judge(kind, made, sound=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=tables.NAMES, default=list(tables.NAMES))
    parser.add_argument("--sound", type=int, default=30, help="sound candidates of each table (default: 30)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/gauntlet.md as it is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
