"""One-row inference beside other servers: every server in turn, round after round, and ratios within each round."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
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
    "beside base: requests/s over those of {base} in the same round; by CPU: its processor time a request over this "
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
    #: Sends the load: what is asked, connections, seconds.
    load: Callable[[Ask, int, float], Load] = lambda ask, connections, seconds: press(
        ask, connections=connections, seconds=seconds
    )


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
                    cells.append(take(server, servers, count, number, seconds))
                    tell(cells[-1])
        for server in servers:
            if server.name.startswith("Lockgate"):
                checks[server.name] = _watched(server)
    for count in dict.fromkeys(cell.connections for cell in cells):
        here = [cell for cell in cells if cell.connections == count]
        title = f"One row, {count} connections, {rounds} rounds: median (least–most)"
        show_cells(here, title, base=BASE, note=count == connections[-1])
    return {"cells": [asdict(cell) | {"rate": cell.load.rate} for cell in cells], "watched": checks}


def _lockgate(platform: Platform, known: dict[str, Any]) -> Server:
    headers = (("authorization", f"Bearer {platform.token}"),)
    row = known["rows"][0]
    url = f"{platform.gateway}/v2/models/{ENDPOINT}/infer"
    ask = Ask(url=url, body=json.dumps(oip_body(row)), headers=headers)
    name = f"Lockgate, {platform.workers} gateway{'s' if platform.workers > 1 else ''}"
    check(name, ask, known["answers"][0], probability)
    return Server(name, ask, platform.pids("gateway"), platform.pids())


def probability(answer: Any) -> float:
    """That of the second class, in the first row of an Open Inference Protocol answer of ours."""
    return float(next(each for each in answer["outputs"] if each["name"] == "probabilities")["data"][1])


def _peer(peer: Peer, known: dict[str, Any]) -> Server:
    ask = peer.ask(peer.port, known["rows"][:1])
    check(peer.name, ask, known["answers"][0], peer.read)
    return Server(peer.name, ask, peer.pids(), peer.pids())


def check(name: str, ask: Ask, expected: float, read: Any) -> None:
    """Nobody is measured who does not answer what the model says.

    Raises:
        RuntimeError: another answer, or none.
    """
    headers = {"content-type": "application/json", **dict(ask.headers)}
    try:
        answer = httpx.post(ask.url, content=ask.sent, headers=headers, timeout=30, trust_env=False)
    except httpx.HTTPError as error:
        raise RuntimeError(f"{name} does not answer: {error}") from error
    if answer.status_code != 200 or not math.isclose(read(answer.json()), expected, abs_tol=1e-4):
        raise RuntimeError(f"{name} answered {answer.status_code} {answer.text[:300]}, expected {expected}")


def take(server: Server, servers: Sequence[Server], connections: int, number: int, seconds: float) -> Cell:
    """Measure one server while all others stand still."""
    with ExitStack() as stack:
        for other in servers:
            if other is not server:
                stack.enter_context(frozen([pid for pid in other.all if pid not in server.all]))
        server.load(server.ask, connections, 1)
        watch = Watch(list(server.all))
        load = server.load(server.ask, connections, seconds)
        used, others = watch.end(list(server.all), list(server.answering))
    return Cell(
        server=server.name,
        connections=connections,
        round=number,
        load=load,
        cpu_us=used / max(1, load.requests) * 1e6,
        others=others,
    )


def tell(cell: Cell, what: str = "") -> None:
    """Print a cell in one line, as soon as it is there."""
    mark = " *" if cell.others > NOISE else ""
    where = f"round {cell.round + 1}, {what}{cell.connections:>2} connections"
    say(f"{where}: {cell.server:<28} {cell.load.rate:>9,.0f}/s{mark}")


def _watched(server: Server) -> dict[str, float]:
    """What the gateway counted itself: proof that every measured request was watched and written down."""
    base = server.ask.url.partition("/v2/")[0]
    text = httpx.get(f"{base}/metrics", headers=dict(server.ask.headers), timeout=30, trust_env=False).text
    names = ("lockgate_log_written_total", "lockgate_log_dropped_total", "lockgate_profiles_dropped_total")
    lines = (line.split() for line in text.splitlines() if line.startswith(names))
    return {line[0]: float(line[1]) for line in lines}


def show_cells(cells: Sequence[Cell], title: str, *, base: str, note: bool) -> None:
    """Print a table of cells that differ in server and round; ratios are against the server named ``base``."""
    beside = {cell.round: cell for cell in cells if cell.server == base}
    rows: list[list[str]] = []
    for name in dict.fromkeys(cell.server for cell in cells):
        own = [cell for cell in cells if cell.server == name]
        noisy = sum(cell.others > NOISE for cell in own)
        rows.append(
            [
                name,
                spread([cell.load.rate for cell in own], digits=0),
                f"{median(cell.load.p50_ms for cell in own):.2f} / {median(cell.load.p99_ms for cell in own):.2f}",
                spread([cell.cpu_us for cell in own], digits=0),
                spread([cell.load.rate / beside[cell.round].load.rate for cell in own], digits=2) if beside else "–",
                spread([beside[cell.round].cpu_us / cell.cpu_us for cell in own], digits=2) if beside else "–",
                str(sum(cell.load.refused + cell.load.broken for cell in own)),
                f"{noisy} of {len(own)}" if noisy else "none",
            ]
        )
    columns = (
        "server",
        "requests/s",
        "p50 / p99 ms",
        "CPU µs a request",
        "beside base ×",
        "by CPU ×",
        "errors",
        "noisy",
    )
    show(title, columns, rows, note=_NOTE.format(base=base) if note and beside else "")
