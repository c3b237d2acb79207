"""The clinics' client is honest about what became of its requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from lockgate.demo.traffic import ANSWERS, Clinics, Counted

INPUTS = [{"name": "age", "datatype": "FP32", "shape": [-1]}]
#: What the server does with the nth request.
Fate = Callable[[int], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two records a phase; the age of one is not known."""
    for phase, label in (("usual", 0), ("shifted", 1)):
        records = [{"inputs": {"age": age}, "label": label} for age in (61.0, None)]
        (tmp_path / f"{phase}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def visit(folder: Path, fate: Fate, *, requests: int) -> tuple[Counted, list[bytes]]:
    """Let the clinics send so many requests to a server that treats them as it likes; gives bodies, too."""
    bodies: list[bytes] = []
    numbers = count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            body = await reader.readexactly(int(head.lower().split("content-length: ")[1].split("\r\n")[0]))
            told = "answer"
            if head.startswith("POST"):
                bodies.append(body)
                told = fate(next(numbers))
            if told == "drop":
                break
            writer.write(_reply(head, told, len(bodies)))
        writer.close()

    async def run() -> Counted:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        where = {"host": "127.0.0.1", "port": port, "endpoint": "m.prod", "token": "lg_x", "folder": str(folder)}
        clinics = Clinics({**where, "rate": 500, "phase": "usual"})
        async with server, asyncio.TaskGroup() as group:
            group.create_task(clinics.run())
            await _until(lambda: clinics.counted.sent >= requests // 2)
            clinics.phase = "shifted"
            await _until(lambda: clinics.counted.sent >= requests)
            clinics.stop()
        return clinics.counted

    return asyncio.run(run()), bodies


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return ""


def _reply(head: str, told: str, number: int) -> bytes:
    status, body = "200 OK", json.dumps({"inputs": INPUTS}).encode()
    if told == "refuse":
        status, body = "422 Unprocessable Content", json.dumps({"code": "invalid_output"}).encode()
    stamps = f"X-Lockgate-Version: m:3\r\nX-Lockgate-Prediction-Id: id{number}\r\n"
    return f"HTTP/1.1 {status}\r\n{stamps}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def test_every_answer_is_counted_and_kept_with_version_phase_and_label(folder: Path) -> None:
    counted, _ = visit(folder, lambda number: "answer", requests=40)
    assert counted.sent == counted.answered >= 40
    assert counted.lost == 0
    kept = [json.loads(line) for line in (folder / ANSWERS).read_text().splitlines()]
    assert len(kept) == counted.answered
    assert {(version, phase, label) for _, version, phase, label, _ in kept} == {("3", "usual", 0), ("3", "shifted", 1)}
    assert counted.by == {f"3 {phase}": sum(answer[2] == phase for answer in kept) for phase in ("usual", "shifted")}


def test_what_was_not_measured_is_sent_as_null(folder: Path) -> None:
    _, bodies = visit(folder, lambda number: "answer", requests=10)
    assert {json.loads(body)["inputs"][0]["data"][0] for body in bodies} == {61.0, None}


def test_a_refusal_is_an_answer_and_is_counted_by_its_code(folder: Path) -> None:
    counted, _ = visit(folder, lambda number: "refuse" if number % 4 == 0 else "answer", requests=40)
    assert counted.answered == counted.sent
    assert counted.refused["invalid_output"] >= 10
    assert sum(counted.by.values()) + sum(counted.refused.values()) == counted.answered


def test_a_request_whose_connection_breaks_is_lost_and_the_others_go_on(folder: Path) -> None:
    counted, _ = visit(folder, lambda number: "drop" if number in (3, 7) else "answer", requests=40)
    assert counted.lost == 2
    assert counted.answered == counted.sent - 2
