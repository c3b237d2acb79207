"""The gate about running a package: how large it is, how soon it answers, how much it answers, and whether it grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lockgate.adapters.packages.evidence import CannotTell, Evidence, Runner
from lockgate.adapters.packages.gates.figures import rounded
from lockgate.adapters.packages.gates.findings import Finding, Look, as_one, look_at
from lockgate.adapters.packages.gates.latency import example_rows
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult

_MB = 1e6
#: Rows of one call while throughput is measured, and seconds that this takes.
_BLOCK, _SECONDS = 256, 2.0
#: Calls before memory is looked at: allocators and caches have filled by then.
_WARM_UP = 200
#: Seconds of the soak where the file does not say, and the share of it after which growth counts.
_SOAK, _SETTLED = 10.0, 0.3
#: Memory that a process may hold or give back at any time, in bytes: less is no growth.
_JITTER = 2 << 20


def judge_operation(evidence: Evidence, params: dict[str, Any]) -> GateResult:
    """Whether it can be run within what it may take; only what the file names is asked for."""
    looks: list[tuple[str, Look]] = [
        ("size", partial(_size, evidence, params)),
        ("cold start", partial(_cold_start, evidence, params)),
        ("throughput", partial(_throughput, evidence, params)),
        ("memory", partial(_memory, evidence, params)),
    ]
    asked = {"size": "size_mb", "cold start": "cold_start_ms", "throughput": "rows_per_second"}
    wanted = [
        look
        for look in looks
        if asked.get(look[0]) in params or (look[0] == "memory" and {"memory_mb", "growth_mb"} & params.keys())
    ]
    if not wanted:
        raise CannotTell("the gate names nothing to hold the package against", hint="say size_mb, memory_mb, …")
    found = look_at(wanted)
    told = "; ".join(finding.sentence for finding in found)
    return as_one("operation", "", found, nothing=told)


def _size(evidence: Evidence, params: dict[str, Any]) -> Iterator[Finding]:
    size = sum(entry.size for entry in evidence.candidate.files.values()) / _MB
    yield _held("size", size, float(params["size_mb"]), "the package has {} MB", "leave out what it does not need")


def _cold_start(evidence: Evidence, params: dict[str, Any]) -> Iterator[Finding]:
    rows = _rows(evidence).head(1)
    # What must be had once for a machine, such as its environment, is there already: the first runner saw to that.
    evidence.runner.run(evidence.runner.feeds(rows))
    began = time.perf_counter()
    fresh = evidence.another_runner()
    fresh.run(fresh.feeds(rows))
    taken = (time.perf_counter() - began) * 1000
    yield _held(
        "cold start",
        taken,
        float(params["cold_start_ms"]),
        "it answers {} ms after its start",
        "load less at the start, or make the model smaller",
    )


def _throughput(evidence: Evidence, params: dict[str, Any]) -> Iterator[Finding]:
    frame = _rows(evidence)
    block = pd.concat([frame] * -(-_BLOCK // len(frame)), ignore_index=True).head(_BLOCK)
    feeds = evidence.runner.feeds(block)
    evidence.runner.run(feeds)
    began, rows = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < _SECONDS or not rows:
        evidence.runner.run(feeds)
        rows += len(block)
    rate, least = rows / max(taken, 1e-9), float(params["rows_per_second"])
    good = rate >= least
    yield Finding(
        name="throughput",
        verdict=Verdict.PASS if good else Verdict.FAIL,
        sentence=f"it answers {rate:,.0f} rows a second on one thread; at least {least:,.0f} are asked for",
        hint="" if good else "make the model smaller: fewer or shallower trees, fewer columns",
        figures={"rows_per_second": rounded(rate), "at_least": least, "rows_a_call": len(block)},
    )


def _memory(evidence: Evidence, params: dict[str, Any]) -> Iterator[Finding]:
    if evidence.candidate.lane == "upstream":
        raise CannotTell("a server elsewhere answers, and its memory cannot be seen from here")
    before = _resident()
    runner = evidence.another_runner()
    alone = runner.memory() is None
    frame = _rows(evidence)
    feeds = [runner.feeds(frame.iloc[at : at + 1]) for at in range(len(frame))]
    for at in range(_WARM_UP):
        runner.run(feeds[at % len(feeds)])
    held = _held_by(runner) - (before if alone else 0)
    if "memory_mb" in params:
        what = "opening and asking it takes {} MB" if alone else "its process holds {} MB"
        hint = "make the model smaller, or import less"
        yield _held("memory", max(0.0, held / _MB), float(params["memory_mb"]), what, hint)
    if "growth_mb" in params:
        yield _grown(runner, feeds, params)


def _grown(runner: Runner, feeds: list[dict[str, Any]], params: dict[str, Any]) -> Finding:
    seconds, most = float(params.get("seconds", _SOAK)), float(params["growth_mb"])
    began, calls = time.perf_counter(), 0
    settled: tuple[int, int] | None = None
    while (gone := time.perf_counter() - began) < seconds:
        runner.run(feeds[calls % len(feeds)])
        calls += 1
        if settled is None and gone >= _SETTLED * seconds:
            settled = (_held_by(runner), calls)
    if settled is None or calls - settled[1] < len(feeds):
        told = f"{calls} calls in {seconds:g} s are too few to see whether it grows"
        raise CannotTell(told, hint="ask for more seconds")
    grown = _held_by(runner) - settled[0]
    growth = grown / _MB if grown > _JITTER else 0.0
    counted = calls - settled[1]
    each = f", {grown / counted / 1000:,.1f} KB a call" if growth else ""
    return _held(
        "growth",
        growth,
        most,
        f"{{}} MB were added over {counted:,} calls{each}",
        "something keeps what it was asked: a cache without a bound, or a list that only grows",
    )


def _resident() -> int:
    """Bytes that this process holds in memory."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _held_by(runner: Runner) -> int:
    held = runner.memory()
    return _resident() if held is None else held


def _rows(evidence: Evidence) -> pd.DataFrame:
    if not evidence.candidate.signature.inputs:
        raise CannotTell("the model takes no rows that it could be asked about")
    return example_rows(evidence)


def _held(name: str, found: float, most: float, sentence: str, hint: str) -> Finding:
    good = found <= most
    return Finding(
        name=name,
        verdict=Verdict.PASS if good else Verdict.FAIL,
        sentence=f"{sentence.format(f'{found:,.3g}')}; at most {most:,g} is asked for",
        hint="" if good else hint,
        figures={"found": rounded(found), "at_most": most},
    )
