"""The clinics: a real client that asks for predictions on real records, at a steady rate over connections it keeps.

A program of its own. Its commands: ``begin`` {host, port, endpoint, token, folder, rate, phase}, ``send`` {phase} and
``end``. A few times a second it says how many requests were sent, answered, refused and lost, and by which version
they were answered; each answer is kept in ``answers.jsonl`` as prediction id, version, phase, record's label and time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.base.errors import Unavailable
from lockgate.demo.child import Json, reply
from lockgate.sdk.rows import tensors

PHASES = ("usual", "shifted")
#: File that every answer is written to, in the folder of the records.
ANSWERS = "answers.jsonl"

_CONNECTIONS = 8
_ANSWER_WITHIN = 10.0  # seconds
_SAY_EVERY = 0.2  # seconds


class Lost(Exception):
    """No answer came."""


class Line:
    """One connection, opened when it is needed and kept as long as the server keeps it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request and read its answer: status, headers by lower-case name, body.

        Raises:
            Lost: the connection broke, or no answer came in time. It is never sent a second time.
        """
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                return await self._ask(request)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.close()
            raise Lost(str(error)) from error

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._open
        writer.write(request)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(first.split(" ")[1]), headers, body


@dataclass(kw_only=True)
class Counted:
    """What became of the requests."""

    sent: int = 0
    #: Answered, with a prediction or with a refusal.
    answered: int = 0
    #: Those of them that were answered with a refusal, by its code.
    refused: Counter[str] = field(default_factory=Counter[str])
    lost: int = 0
    #: Predictions by version and phase, as ``4 shifted``.
    by: Counter[str] = field(default_factory=Counter[str])


class Clinics:
    """Sends records at a rate, whatever the answers take."""

    def __init__(self, where: Json) -> None:
        self._host, self._port = str(where["host"]), int(where["port"])
        self._path, self._token = f"/v2/models/{where['endpoint']}", str(where["token"])
        self._folder, self._every = Path(where["folder"]), 1 / float(where["rate"])
        self.phase = str(where["phase"])
        self.counted = Counted()
        self._records: dict[str, list[tuple[bytes, int]]] = {}
        self._next: Counter[str] = Counter()
        self._due = 0.0
        self._going = True

    async def run(self) -> None:
        """Send until `stop`."""
        lines = [Line(self._host, self._port) for _ in range(_CONNECTIONS)]
        # A connection stays with one gateway, and each gateway takes new routes by itself: all of them are asked.
        wanted = await asyncio.gather(*map(self._wanted, lines))
        self._read_records(wanted[0])
        self._due = time.monotonic()
        with (self._folder / ANSWERS).open("w", encoding="utf-8", buffering=1 << 16) as kept:
            async with asyncio.TaskGroup() as group:
                for line in lines:
                    group.create_task(self._ask_on(line, kept))
                group.create_task(self._tell_on(kept))

    def stop(self) -> None:
        """Send no more; what was sent is waited for."""
        self._going = False

    async def _wanted(self, line: Line) -> list[Json]:
        """The inputs that the endpoint takes, as soon as the gateway behind this connection knows it."""
        until = time.monotonic() + _ANSWER_WITHIN
        while True:
            status, _, body = await line.ask(self._request("GET", self._path, b""))
            if status == 200:
                return json.loads(body)["inputs"]
            if time.monotonic() > until:
                raise Unavailable(f"{self._path} was answered with {status}: {body.decode(errors='replace')}")
            await asyncio.sleep(0.1)

    def _read_records(self, wanted: list[Json]) -> None:
        for phase in PHASES:
            lines = (self._folder / f"{phase}.jsonl").read_text(encoding="utf-8").splitlines()
            records: list[Json] = [json.loads(text) for text in lines]
            self._records[phase] = [
                (self._request("POST", f"{self._path}/infer", _body(record["inputs"], wanted)), int(record["label"]))
                for record in records
            ]

    async def _ask_on(self, line: Line, kept: Any) -> None:
        while self._going:
            # One schedule for all connections: who is free takes the next place in it.
            due, self._due = self._due, max(self._due, time.monotonic() - 1.0) + self._every
            await asyncio.sleep(due - time.monotonic())
            phase = self.phase
            records, at = self._records[phase], self._next[phase]
            self._next[phase] = (at + 1) % len(records)
            request, label = records[at]
            self.counted.sent += 1
            try:
                status, headers, body = await line.ask(request)
            except Lost:
                self.counted.lost += 1
                continue
            self.counted.answered += 1
            if status != 200:
                self.counted.refused[_code(status, body)] += 1
                continue
            version = headers["x-lockgate-version"].rpartition(":")[2]
            self.counted.by[f"{version} {phase}"] += 1
            answer = [headers["x-lockgate-prediction-id"], version, phase, label, time.time()]
            kept.write(json.dumps(answer) + "\n")
        line.close()

    async def _tell_on(self, kept: Any) -> None:
        while True:
            counted, going = self.counted, self._going
            kept.flush()
            told = {"sent": counted.sent, "answered": counted.answered, "lost": counted.lost}
            reply({**told, "refused": dict(counted.refused), "by": dict(counted.by)}, into=sys.stdout)
            if not going and counted.sent == counted.answered + counted.lost:
                return
            await asyncio.sleep(_SAY_EVERY)

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _body(record: Json, wanted: list[Json]) -> bytes:
    return json.dumps({"inputs": tensors([record], wanted)}).encode()


def _code(status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError):
        return str(status)


async def converse(group: asyncio.TaskGroup) -> None:
    """Do what is asked on standard input, until it ends."""
    source = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), sys.stdin)
    clinics, running = None, None
    while line := await source.readline():
        asked: Json = json.loads(line)
        if asked["command"] == "begin":
            clinics = Clinics(asked)
            running = group.create_task(clinics.run())
        elif clinics is not None and asked["command"] == "send":
            clinics.phase = str(asked["phase"])
        elif clinics is not None and running is not None and asked["command"] == "end":
            clinics.stop()
            await running
        reply({"number": asked["number"]}, into=sys.stdout)
    if clinics is not None:
        clinics.stop()


async def main() -> None:
    """Converse; a client that cannot go on takes the program with it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(converse(group))


if __name__ == "__main__":
    asyncio.run(main())
