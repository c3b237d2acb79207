"""Servers beside one another under the same loads: so many rows a request, so many connections, round after round."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.figures import say
from benchmarks.gateways import Gateways, gateways, live, route
from benchmarks.load import Ask
from benchmarks.model import NAME
from benchmarks.nginx import Nginx, find_nginx
from benchmarks.peers import Peer, Rows, oip_columns, oip_rows, peers, pyfunc_peer
from benchmarks.serving import Cell, Server, check, probability, show_cells, take, tell

ENDPOINT = f"{NAME}.dev"
ROWS = (1, 100, 1000)
_PATIENCE = 600.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """How hard is asked."""

    rounds: int
    seconds: float
    connections: Sequence[int]
    rows: Sequence[int] = ROWS


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A server that can be asked for any number of rows."""

    server: Server
    #: The request for so many rows, or None where it cannot be asked for so many.
    ask: Callable[[int], Ask | None]


def rows_of(files: Path, count: int) -> Rows:
    """So many rows of the model's data, the eight that are known over and over."""
    known: Rows = json.loads((files / "rows.json").read_text())["rows"]
    return [known[at % len(known)] for at in range(count)]


def columns_of(files: Path) -> list[str]:
    """The names of the model's inputs."""
    return json.loads((files / "rows.json").read_text())["columns"]


def expected(files: Path) -> float:
    """The first row's probability."""
    return float(json.loads((files / "rows.json").read_text())["answers"][0])


def json_ask(rows: Rows) -> Ask:
    """Rows as JSON, with no address yet."""
    return Ask(url="", body=json.dumps(oip_rows(rows)))


def compare(what: str, contestants: Sequence[Contestant], load: Load, *, base: str) -> list[dict[str, Any]]:
    """Measure everybody under every load, in turns; prints a table for each load and gives all cells."""
    found: list[dict[str, Any]] = []
    for rows in load.rows:
        asked = [(each.server, each.ask(rows)) for each in contestants]
        servers = [replace(server, ask=ask) for server, ask in asked if ask is not None]
        for connections in load.connections:
            cells: list[Cell] = []
            for number in range(load.rounds):
                for server in servers:
                    cells.append(take(server, servers, connections, number, load.seconds))
                    tell(cells[-1], f"{rows} rows, ")
            unit = "row" if rows == 1 else "rows"
            title = f"{what}: {rows} {unit}, {connections} connections, {load.rounds} rounds: median (least–most)"
            show_cells(cells, title, base=base, note=True)
            found += [asdict(cell) | {"rate": cell.load.rate, "rows": rows} for cell in cells]
    return found


@contextmanager
def lockgate(
    name: str,
    package: str,
    home: Path,
    files: Path,
    *,
    body: Callable[[Rows], Ask] = json_ask,
    workers: int = 1,
    program: str = "lockgate.dataplane.main",
) -> Generator[Contestant]:
    """Gateways that serve the package, checked to give the right answer; asked by JSON with one matrix by default."""
    say(f"starting {name}")
    routes = [route(NAME, live(package))]
    with gateways(routes, home, workers=workers, program=program) as running:
        yield contestant(name, running, files, body)


def contestant(name: str, running: Gateways, files: Path, body: Callable[[Rows], Ask]) -> Contestant:
    """Running gateways, asked by bodies of one kind; ``body`` gives them with the headers they need."""

    def ask(count: int) -> Ask:
        made = body(rows_of(files, count))
        url = f"{running.url}/v2/models/{ENDPOINT}/infer"
        return replace(made, url=url, headers=(*running.headers, *made.headers))

    _wait_for(ask(1))
    check(name, ask(1), expected(files), probability)
    pids = running.pids()
    return Contestant(server=Server(name, ask(1), pids, pids), ask=ask)


def _wait_for(ask: Ask) -> None:
    """Until a version is loaded: the python lane's environment is installed at first."""
    until = time.monotonic() + _PATIENCE
    headers = {"content-type": "application/json", **dict(ask.headers)}
    while time.monotonic() < until:
        if httpx.post(ask.url, content=ask.sent, headers=headers, timeout=30, trust_env=False).status_code != 503:
            return
        time.sleep(0.5)


@contextmanager
def peer(server: Peer, files: Path) -> Generator[Contestant]:
    """Another server, checked to give the right answer."""
    say(f"starting {server.name}")
    server.start(files)
    try:
        one = server.ask(server.port, rows_of(files, 1))
        check(server.name, one, expected(files), server.read)
        yield Contestant(
            server=Server(server.name, one, server.pids(), server.pids()),
            ask=lambda count: server.ask(server.port, rows_of(files, count)),
        )
    finally:
        server.stop()


@contextmanager
def static(body: Contestant, files: Path) -> Generator[list[Contestant]]:
    """nginx with the other's answer to one row, asked the same; nobody where nginx cannot be had."""
    if not find_nginx():
        say("nginx is not here and cannot be installed (apt-get install nginx-light): it is left out")
        yield []
        return
    ask = body.server.ask
    answer = httpx.post(ask.url, content=ask.sent, headers=dict(ask.headers), trust_env=False).text
    server = Nginx(files / "nginx", answer)
    server.start()
    try:
        asked = replace(ask, url=server.url)
        pids = server.pids()
        yield [
            Contestant(
                server=Server("nginx, static answer", asked, pids, pids),
                ask=lambda count: asked if count == 1 else None,
            )
        ]
    finally:
        server.stop()


def compiled(files: Path, home: Path, package: str, load: Load) -> list[dict[str, Any]]:
    """The compiled lane with everything on, beside MLServer with ONNX Runtime and nginx."""
    with ExitStack() as stack:
        own = stack.enter_context(lockgate("Lockgate", package, home, files))
        others = [stack.enter_context(peer(peers()[0], files)), *stack.enter_context(static(own, files))]
        return compare("Compiled lane, JSON", [own, *others], load, base="MLServer ONNX")


def python(files: Path, home: Path, package: str, load: Load) -> list[dict[str, Any]]:
    """The python lane, beside MLServer with scikit-learn, and with the same MLflow model as a pyfunc."""
    names = columns_of(files)

    def by_column(rows: Rows) -> Ask:
        return Ask(url="", body=json.dumps(oip_columns(rows, names)))

    with ExitStack() as stack:
        servers = [
            stack.enter_context(lockgate("Lockgate, python lane", package, home, files)),
            stack.enter_context(lockgate("Lockgate, by column", package, home, files, body=by_column)),
            stack.enter_context(peer(peers()[1], files)),
            stack.enter_context(peer(pyfunc_peer(names), files)),
        ]
        found = compare("Python lane, JSON", servers[::2], load, base="MLServer sklearn")
        return found + compare("The same pyfunc, a tensor a column", servers[1::2], load, base="MLServer pyfunc")


def monitoring(files: Path, home: Path, package: str, load: Load) -> list[dict[str, Any]]:
    """What profiles, log and metrics cost: the same gateway with them and without."""
    with ExitStack() as stack:
        watched = stack.enter_context(lockgate("Lockgate", package, home, files))
        bare = stack.enter_context(
            lockgate("Lockgate, not monitored", package, home, files, program="benchmarks.unwatched")
        )
        return compare("Cost of monitoring, JSON", [watched, bare], load, base="Lockgate, not monitored")


def workers(files: Path, home: Path, package: str, load: Load) -> list[dict[str, Any]]:
    """Two workers beside one."""
    with ExitStack() as stack:
        one = stack.enter_context(lockgate("Lockgate, 1 worker", package, home, files))
        two = stack.enter_context(lockgate("Lockgate, 2 workers", package, home, files, workers=2))
        return compare("Workers, JSON", [one, two], load, base="Lockgate, 1 worker")


def binary(files: Path, home: Path, package: str, load: Load) -> list[dict[str, Any]]:
    """JSON beside the binary tensor extension, both ways, on the same gateway."""
    with ExitStack() as stack:
        own = stack.enter_context(lockgate("Lockgate, JSON", package, home, files))
        extended = stack.enter_context(lockgate("Lockgate, binary", package, home, files))
        return compare("Binary tensors", [own, _binary_asked(extended, files)], load, base="Lockgate, JSON")


def _binary_asked(server: Contestant, files: Path) -> Contestant:
    url, headers = server.server.ask.url, server.server.ask.headers

    def ask(count: int) -> Ask:
        head, raw = binary_body(rows_of(files, count))
        more = (("inference-header-content-length", str(len(head))), ("content-type", "application/octet-stream"))
        return Ask(url=url, body=head + raw, headers=(*headers, *more))

    one = ask(1)
    answer = httpx.post(url, content=one.sent, headers=dict(one.headers), trust_env=False)
    found = _binary_probability(answer) if answer.status_code == 200 else float("nan")
    if not isclose(found, expected(files), abs_tol=1e-4):
        raise RuntimeError(f"binary tensors were answered with {answer.status_code} {answer.content[:300]!r}")
    return Contestant(server=replace(server.server, ask=one), ask=ask)


def _binary_probability(answer: httpx.Response) -> float:
    """That of the second class, in the first row of an answer whose tensors lie behind its JSON."""
    length = int(answer.headers["inference-header-content-length"])
    at = length
    for tensor in json.loads(answer.content[:length])["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size", 0)
        if tensor["name"] == "probabilities":
            kind = "<f4" if tensor["datatype"] == "FP32" else "<f8"
            return float(np.frombuffer(answer.content[at : at + size], dtype=kind)[1])
        at += size
    raise RuntimeError("an answer without probabilities")


def binary_body(rows: Rows) -> tuple[bytes, bytes]:
    """Rows as the binary tensor extension has them: the JSON before the tensors, and the tensors."""
    raw = np.asarray(rows, dtype=np.float64).tobytes()
    tensor = {
        "name": "x",
        "shape": [len(rows), len(rows[0])],
        "datatype": "FP64",
        "parameters": {"binary_data_size": len(raw)},
    }
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode(), raw
