"""A small OpenAI-compatible server, which also fails in every way its model's name asks for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WORDS = ("the", "gland", "is", "enlarged")
USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}


@dataclass
class Writer:
    """What it was asked, and what it is to do next."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    #: Answers by status before it answers well again.
    failing: list[int] = field(default_factory=list[int])
    #: How an answer goes wrong: slow, half, huge, endless, strict, hangup.
    fault: str = ""
    #: Callers who went away before the end.
    left: int = 0
    #: Pieces of an endless answer that were sent.
    pieces: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer everything on one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                method, path, _ = line.split(" ")
                if not await self._answer(method, path, headers, json.loads(body or b"{}"), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left += 1
        except asyncio.CancelledError:
            # The test is over.
            return
        finally:
            writer.close()

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> bool:
        if method == "GET":
            return _whole(writer, 200, {"object": "list", "data": [{"id": "tiny", "owned_by": "us", "created": 7}]})
        self.bodies.append(body)
        self.headers.append(headers)
        if self.failing:
            return _whole(writer, self.failing.pop(0), {"error": {"message": "no", "type": "x", "code": "y"}})
        match self.fault:
            case "hangup":
                return False
            case "half":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
                return False
            case "slow":
                await asyncio.sleep(30)
            case "huge":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n")
                return False
            case "strict" if "stream_options" in body:
                return _whole(writer, 400, {"error": {"message": "unknown field stream_options", "type": "x"}})
            case _:
                pass
        if body.get("stream"):
            return await self._stream(body, writer)
        if path.endswith("/embeddings"):
            return _whole(writer, 200, {"object": "list", "data": [{"embedding": [0.5]}], "usage": USAGE})
        message = {"role": "assistant", "content": " ".join(WORDS)}
        return _whole(writer, 200, {"id": "c1", "choices": [{"index": 0, "message": message}], "usage": USAGE})

    async def _stream(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        while self.fault == "endless":
            _piece(writer, {"id": "c1", "choices": [{"delta": {"content": "la" * 2000}}]})
            self.pieces += 1
            await writer.drain()
            await asyncio.sleep(0)
        for place, word in enumerate(WORDS):
            _piece(writer, {"id": "c1", "choices": [{"delta": {"content": word}}]})
            await writer.drain()
            await asyncio.sleep(0.05)
            if self.fault == "torn" and place == 1:
                return False
        if body.get("stream_options", {}).get("include_usage"):
            _piece(writer, {"id": "c1", "choices": [], "usage": USAGE})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        return True


def _whole(writer: asyncio.StreamWriter, status: int, value: Any) -> bool:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return True


def _piece(writer: asyncio.StreamWriter, value: Any) -> None:
    data = b"data: %b\n\n" % json.dumps(value).encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


@contextmanager
def openai_server() -> Generator[Writer]:
    """The server, while the block runs."""
    made = Writer()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def run() -> asyncio.Server:
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        return server

    def work() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(run())
        loop.run_forever()
        server.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(_end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
