"""Long work, and what comes by the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from lockgate.sdk.transport import Json, Transport


class Working:
    """Jobs, schedules and leaders, as methods."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def jobs(self, **only: str | None) -> Iterator[Json]:
        """Long work, newest first; ``only`` takes state, kind and queue."""
        return self._api.pages("/jobs", **only)

    def queues(self) -> list[Json]:
        """How each queue does."""
        return self._listed("/jobs/queues")

    def kinds(self) -> list[Json]:
        """The kinds of long work."""
        return self._listed("/jobs/kinds")

    def cancel(self, id: str, *, reason: str = "") -> Json:
        """Stop a piece of long work."""
        return self._api.post(f"/jobs/{_part(id)}/cancel", {"reason": reason})

    def retry(self, id: str, *, reason: str = "") -> Json:
        """Give one that failed or was cancelled another chance."""
        return self._api.post(f"/jobs/{_part(id)}/retry", {"reason": reason})

    def retry_all(self, kind: str, *, reason: str) -> Json:
        """Give every dead letter of a kind another chance."""
        return self._api.post("/jobs/retry", {"kind": kind, "reason": reason})

    def schedules(self) -> Iterator[Json]:
        """Schedules, in the order of their next ticks."""
        return self._api.pages("/schedules")

    def schedule(self, name: str) -> Json:
        """One schedule."""
        return self._api.get(f"/schedules/{_part(name)}")

    def add_schedule(self, **wish: Any) -> Json:
        """Have jobs asked for by the calendar: name, kind, cron, zone, catch_up, payload, reason."""
        return self._api.post("/schedules", wish)

    def change_schedule(self, name: str, how: str, *, reason: str) -> Json:
        """``pause``, ``resume``, ``run`` or ``remove`` a schedule."""
        return self._api.post(f"/schedules/{_part(name)}/{how}", {"reason": reason})

    def leaders(self) -> list[Json]:
        """Which control plane does what only one may do."""
        return self._listed("/leaders")

    def _listed(self, path: str) -> list[Json]:
        found: Any = self._api.get(path)
        return list(found)


def _part(text: str) -> str:
    return quote(text, safe="")
