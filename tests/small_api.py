"""A small HTTP server that speaks the shapes of the platform's API, for tests of what talks to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


#: Status and body, or what makes them from the request.
Told = tuple[int, Any]
Answer = Told | Callable[[Asked], Told]


@dataclass
class SmallApi:
    """Answers as it was told to, and remembers what it was asked."""

    url: str
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict[tuple[str, str], list[Answer]])
    asked: list[Asked] = field(default_factory=list[Asked])

    def on(self, method: str, path: str, *answers: Answer) -> Self:
        """Answer a request: the first time with the first, and from the last on always with the last."""
        self.answers[method, path] = list(answers)
        return self

    def sent(self, method: str, path: str) -> list[Asked]:
        """The requests of this kind."""
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    def answer(self, asked: Asked) -> Told:
        self.asked.append(asked)
        known = self.answers.get((asked.method, asked.path))
        if known is None:
            return problem(404, "not_found", f"no {asked.method} {asked.path} in this test")
        answer = known.pop(0) if len(known) > 1 else known[0]
        return answer(asked) if callable(answer) else answer


def problem(status: int, code: str, detail: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> Told:
    """A refusal as the platform words it."""
    return status, {
        "type": f"urn:lockgate:problem:{code}",
        "title": "",
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
        "problems": list(problems),
    }


def page(*items: Json, following: str | None = None) -> Told:
    """A page of a list."""
    return 200, {"items": list(items), "next": following}


@contextmanager
def small_api() -> Generator[SmallApi]:
    """Serve for the length of the block. The API and the gateway are the same server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                method=self.command,
                path=unquote(parts.path).removeprefix("/api/v1"),
                query={name: values[0] for name, values in parse_qs(parts.query).items()},
                headers={name.lower(): value for name, value in self.headers.items()},
                raw=self._body(),
            )
            status, body = api.answer(asked)
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_DELETE = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = SmallApi(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def a_version(number: int = 3, **changes: Any) -> Json:
    """A version as the API shows it."""
    return {
        "id": f"thyroid:{number}",
        "revision": 1,
        "model": "thyroid",
        "number": number,
        "state": "ready",
        "package": "sha256:" + "a" * 64,
        "manifest": {"graph": {"path": "model.onnx"}},
        "failure": "",
        "hint": "",
        "created_at": "2026-05-01T12:00:00Z",
        "created_by": "ada",
        **changes,
    }


def a_job(**changes: Any) -> Json:
    """A job as the API shows it."""
    return {
        "id": "job_1",
        "kind": "package",
        "state": "done",
        "queue": "models",
        "worker": "",
        "attempts": 1,
        "max_attempts": 3,
        "progress": "comparing answers",
        "log": "",
        "result": None,
        "error": "",
        "requested_by": "ada",
        "updated_at": "2026-05-01T12:00:00Z",
        **changes,
    }


def a_queue() -> Json:
    due = "2026-05-01T12:00:00Z"
    return {"queue": "models", "waiting": 1, "running": 0, "parked": 0, "dead": 2, "oldest_due_at": due}


def a_leader() -> Json:
    since = "2026-05-01T12:00:00Z"
    return {"concern": "watch", "holder": "host:8400", "token": 3, "since": since, "leads": True}


def a_schedule() -> Json:
    at = "2026-05-01T12:00:00Z"
    return {
        **{"id": "prune", "kind": "prune", "payload": {"keep_days": 3}, "cron": "@daily", "zone": "UTC", "next_at": at},
        **{"last_tick": None, "last_job": "", "catch_up": "once", "passed_over": 0, "paused": False},
        **{"created_by": "ada", "reason": "to tidy up"},
    }


def a_promotion(**changes: Any) -> Json:
    """A promotion as the API shows it."""
    return {
        "id": "promo_1",
        "model": "thyroid",
        "version": "thyroid:3",
        "environment": "prod",
        "state": "awaiting_approval",
        "report": "rep_1",
        "release": None,
        "approvals_needed": 1,
        "approvals": [],
        "sentence": "every gate passes; 1 signature is missing",
        "requested_by": "ada",
        "created_at": "2026-05-01T12:00:00Z",
        **changes,
    }


def a_report(**changes: Any) -> Json:
    """A gate report as the API shows it."""
    result = {
        "gate": "quality",
        "name": "roc_auc",
        "verdict": "pass",
        "sentence": "roc_auc is 0.93, at least 0.90 was asked",
        "hint": "",
        "figures": {},
        "seconds": 0.1,
    }
    return {
        "id": "rep_1",
        "version": "thyroid:3",
        "environment": "prod",
        "package": "sha256:" + "a" * 64,
        "policy_digest": "sha256:" + "b" * 64,
        "champion": None,
        "data": {},
        "created_at": "2026-05-01T12:00:00Z",
        "results": [result],
        "verdict": "pass",
        **changes,
    }


def a_rollout(**changes: Any) -> Json:
    """A rollout as the API shows it."""
    return {
        "id": "roll_1",
        "endpoint": "thyroid.prod",
        "candidate": "thyroid:3",
        "stable": "thyroid:2",
        "strategy": {
            "steps": [
                {"kind": "shadow", "weight": 10000, "seconds": 60.0},
                {"kind": "traffic", "weight": 500, "seconds": 600.0},
            ]
        },
        "step": 2,
        "phase": "completed",
        "reason": "the last step is over",
        "judgements": [],
        "created_at": "2026-05-01T12:00:00Z",
        **changes,
    }


def a_table(generation: int = 8) -> Json:
    """A route table as the API shows it."""
    targets = [
        {"version": "thyroid:2", "number": 2, "role": "live", "weight": 10000},
        {"version": "thyroid:3", "number": 3, "role": "warm", "weight": 0},
    ]
    return {
        "generation": generation,
        "published_at": "2026-05-01T12:00:00Z",
        "reason": "rolled back: too many errors",
        "endpoints": [{"name": "thyroid.prod", "model": "thyroid", "environment": "prod", "targets": targets}],
    }
