"""One-row inference beside other servers: every server in turn, round after round, and ratios within each round."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.figures import say, show, spread
from benchmarks.live import live_platform
from benchmarks.load import Ask, Load, press
from benchmarks.model import NAME
from benchmarks.peers import Peer, oip_body, peers
from benchmarks.running import Platform
from benchmarks.surroundings import NOISE, Watch, frozen

CONNECTIONS = (1, 16, 64)
ENDPOINT = f"{NAME}.dev"
#: The server that ratios are told against.
BASE = "MLServer ONNX"
_NOTE = (
    f"beside base: requests/s over those of {BASE} in the same round; by CPU: its processor time a request over this "
    f"one's; noisy: rounds in which others held more than {NOISE} cores."
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One server under one load."""

    server: str
    connections: int
    round: int
    load: Load
    #: Processor time of the server for one request, in microseconds.
    cpu_us: float
    #: Cores that others held meanwhile.
    others: float


@dataclass(frozen=True)
class Server:
    """Anything that is asked."""

    name: str
    ask: Ask
    #: Processes that answer, and all that stand still while another is measured.
    answering: Sequence[int]
    all: Sequence[int]


def measure(
    files: Path, *, rounds: int, seconds: float, beside: bool, connections: Sequence[int] = CONNECTIONS
) -> dict[str, Any]:
    """Measure Lockgate with one gateway and with two, and with ``beside`` the peers; prints and gives the figures."""
    known = json.loads((files / "rows.json").read_text())
    cells: list[Cell] = []
    checks: dict[str, Any] = {}
    with ExitStack() as stack:
        servers: list[Server] = []
        for workers in (1, 2):
            platform = stack.enter_context(live_platform(files, workers=workers))
            servers.append(_lockgate(platform, known))
        for peer in peers() if beside else ():
            say(f"starting {peer.name}")
            peer.start(files)
            stack.callback(peer.stop)
            servers.append(_peer(peer, known))
        for number in range(rounds):
            for count in connections:
                for server in servers:
                    cells.append(_cell(server, servers, count, number, seconds))
        for server in servers:
            if server.name.startswith("Lockgate"):
                checks[server.name] = _watched(server)
    _show(cells, rounds)
    return {"cells": [asdict(cell) | {"rate": cell.load.rate} for cell in cells], "watched": checks}


def _lockgate(platform: Platform, known: dict[str, Any]) -> Server:
    headers = (("authorization", f"Bearer {platform.token}"),)
    row = known["rows"][0]
    url = f"{platform.gateway}/v2/models/{ENDPOINT}/infer"
    ask = Ask(url=url, body=json.dumps(oip_body(row)), headers=headers)
    name = f"Lockgate, {platform.workers} gateway{'s' if platform.workers > 1 else ''}"
    _check(name, ask, known["answers"][0], _probability)
    return Server(name, ask, platform.pids("gateway"), platform.pids())


def _probability(answer: Any) -> float:
    return float(next(each for each in answer["outputs"] if each["name"] == "probabilities")["data"][1])


def _peer(peer: Peer, known: dict[str, Any]) -> Server:
    ask = peer.ask(peer.port, known["rows"][0])
    _check(peer.name, ask, known["answers"][0], peer.read)
    return Server(peer.name, ask, peer.pids(), peer.pids())


def _check(name: str, ask: Ask, expected: float, read: Any) -> None:
    """Nobody is measured who does not answer what the model says.

    Raises:
        RuntimeError: another answer, or none.
    """
    headers = {"content-type": "application/json", **dict(ask.headers)}
    answer = httpx.post(ask.url, content=ask.body, headers=headers, timeout=30, trust_env=False)
    if answer.status_code != 200 or not math.isclose(read(answer.json()), expected, abs_tol=1e-4):
        raise RuntimeError(f"{name} answered {answer.status_code} {answer.text[:300]}, expected {expected}")


def _cell(server: Server, servers: Sequence[Server], connections: int, number: int, seconds: float) -> Cell:
    with ExitStack() as stack:
        for other in servers:
            if other is not server:
                stack.enter_context(frozen(list(other.all)))
        press(server.ask, connections=connections, seconds=1)
        watch = Watch(list(server.all))
        load = press(server.ask, connections=connections, seconds=seconds)
        used, others = watch.end(list(server.all), list(server.answering))
    cell = Cell(
        server=server.name,
        connections=connections,
        round=number,
        load=load,
        cpu_us=used / max(1, load.requests) * 1e6,
        others=others,
    )
    mark = " *" if others > NOISE else ""
    say(f"round {number + 1}, {connections:>2} connections: {server.name:<22} {load.rate:>9,.0f}/s{mark}")
    return cell


def _watched(server: Server) -> dict[str, float]:
    """What the gateway counted itself: proof that every measured request was watched and written down."""
    base = server.ask.url.partition("/v2/")[0]
    text = httpx.get(f"{base}/metrics", headers=dict(server.ask.headers), timeout=30, trust_env=False).text
    names = ("lockgate_log_written_total", "lockgate_log_dropped_total", "lockgate_profiles_dropped_total")
    lines = (line.split() for line in text.splitlines() if line.startswith(names))
    return {line[0]: float(line[1]) for line in lines}


def _show(cells: Sequence[Cell], rounds: int) -> None:
    for connections in dict.fromkeys(cell.connections for cell in cells):
        here = [cell for cell in cells if cell.connections == connections]
        base = {cell.round: cell for cell in here if cell.server == BASE}
        rows: list[list[str]] = []
        for name in dict.fromkeys(cell.server for cell in here):
            own = [cell for cell in here if cell.server == name]
            noisy = sum(cell.others > NOISE for cell in own)
            rows.append(
                [
                    name,
                    spread([cell.load.rate for cell in own], digits=0),
                    f"{median(cell.load.p50_ms for cell in own):.2f} / {median(cell.load.p99_ms for cell in own):.2f}",
                    spread([cell.cpu_us for cell in own], digits=0),
                    spread([cell.load.rate / base[cell.round].load.rate for cell in own], "×") if base else "–",
                    spread([base[cell.round].cpu_us / cell.cpu_us for cell in own], "×") if base else "–",
                    str(sum(cell.load.refused + cell.load.broken for cell in own)),
                    f"{noisy} of {len(own)}" if noisy else "none",
                ]
            )
        title = f"One row, {connections} connections, {rounds} rounds: median (least–most)"
        columns = (
            "server",
            "requests/s",
            "p50 / p99 ms",
            "CPU µs a request",
            "beside base",
            "by CPU",
            "errors",
            "noisy",
        )
        note = _NOTE if connections == cells[-1].connections else ""
        show(title, columns, rows, note=note)
