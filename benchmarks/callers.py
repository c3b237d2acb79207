"""Callers at a steady rate, in a process of their own: ``python -m benchmarks.callers``, told what to do on stdin.

Reads one line of JSON with host, port, path, headers, body, rate and connections; asks until stdin is closed; then
writes one line of JSON: for each request when it was due, when its answer was here (seconds on the machine's monotonic
clock), its status (0 when the connection broke) and the version that answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

_PATIENCE = 10.0
_VERSION = b"x-lockgate-version: "
_LENGTH = b"content-length: "

Told = tuple[float, float, int, str]


class Caller:
    """One keep-alive connection, one request at a time."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._host, self._port = host, port
        self._request = request
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.told: list[Told] = []

    async def ask(self, due: float) -> None:
        """Ask once; what becomes of it is kept."""
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._pair is None:
                    self._pair = await asyncio.open_connection(self._host, self._port)
                status, version, last = await self._exchange(*self._pair)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status, version, last = 0, "", True
        self.told.append((due, time.monotonic(), status, version))
        if last:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self._pair is not None:
            self._pair[1].close()
            self._pair = None

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str, bool]:
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(_line(head, _LENGTH) or b"0")
        await reader.readexactly(length)
        return int(head[9:12]), _line(head, _VERSION).decode(), b"connection: close" in head


def _line(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.partition(b"\r\n" + name)
    return rest.partition(b"\r\n")[0] if found else b""


async def _call(order: dict[str, Any]) -> list[Told]:
    body = order["body"].encode()
    lines = [f"POST {order['path']} HTTP/1.1", f"host: {order['host']}:{order['port']}"]
    lines += [f"{name}: {value}" for name, value in order["headers"].items()]
    lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
    request = "\r\n".join(lines).encode() + body
    callers = [Caller(order["host"], order["port"], request) for _ in range(order["connections"])]
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    began = time.monotonic() + 0.1
    step = len(callers) / order["rate"]

    async def pace(caller: Caller, first: float) -> None:
        due = first
        while not over.done():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await caller.ask(due)
            due += step

    # Each has its own place in the second, so that requests come evenly.
    await asyncio.gather(*(pace(caller, began + place / order["rate"]) for place, caller in enumerate(callers)))
    for caller in callers:
        caller.close()
    return sorted(told for caller in callers for told in caller.told)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_call(json.loads(sys.stdin.readline())))))
