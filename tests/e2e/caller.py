"""A client that goes on predicting while things are broken around it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx


@dataclass
class Caller:
    """Predicts at a steady pace until it is left; a request whose connection breaks is sent once more.

    One that is refused, or breaks twice, is lost.
    """

    url: str
    token: str
    body: dict[str, Any]
    per_second: float = 50
    #: Prediction ids as they were answered, and the versions that answered.
    answered: list[str] = field(default_factory=list[str])
    versions: set[str] = field(default_factory=set[str])
    lost: list[str] = field(default_factory=list[str])
    #: Connections that broke under a request.
    broken: int = 0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(60)

    def until(self, more: int, seconds: float = 60) -> None:
        """Wait until so many more are answered."""
        goal, give_up = len(self.answered) + more, time.monotonic() + seconds
        while len(self.answered) < goal:
            assert time.monotonic() < give_up, f"{len(self.answered)} answered, lost: {self.lost[:3]}"
            time.sleep(0.02)

    def _run(self) -> None:
        headers = {"authorization": f"Bearer {self.token}"}
        due = time.monotonic()
        with httpx.Client(headers=headers, timeout=20) as client:
            while not self._over.is_set():
                self._ask(client)
                due = max(due + 1 / self.per_second, time.monotonic() - 1)
                self._over.wait(max(0.0, due - time.monotonic()))

    def _ask(self, client: httpx.Client) -> None:
        for attempt in (1, 2):
            try:
                answer = client.post(self.url, json=self.body)
            except httpx.TransportError as error:
                self.broken += 1
                if attempt == 2:
                    self.lost.append(repr(error))
                continue
            if answer.status_code != 200:
                self.lost.append(f"{answer.status_code} {answer.text[:200]}")
                return
            self.answered.append(answer.headers["x-lockgate-prediction-id"])
            self.versions.add(answer.headers["x-lockgate-version"])
            return
