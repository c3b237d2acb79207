"""Policies, waivers, and what is forced past both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from lockgate.sdk.transport import Json, Transport


class Governing:
    """What an organisation demands of its models, as methods."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def policies(self) -> list[Json]:
        """The policy files in force, the platform's own first."""
        return self._listed("/policies")

    def policy(self, name: str, number: int | None = None) -> Json:
        """One policy file: the one in force, or an older one."""
        return self._api.get(f"/policies/{quote(name, safe='')}", number=number)

    def apply_policy(self, text: str, *, reason: str) -> Json:
        """Put a policy file in force."""
        return self._api.post("/policies", {"text": text, "reason": reason})

    def withdraw_policy(self, name: str, *, reason: str) -> Json:
        """Take a policy file out of force."""
        return self._api.post(f"/policies/{quote(name, safe='')}/withdraw", {"reason": reason})

    def dry_run(self, text: str, *, days: int = 90) -> Json:
        """What a policy file would have refused in the last days."""
        return self._api.post("/policies/dry-run", {"text": text, "days": days})

    def demanded(self, model: str, number: int, environment: str) -> Json:
        """What an environment demands of a version."""
        return self._api.get(f"/models/{quote(model, safe='')}/versions/{number}/policy", environment=environment)

    def ask_waiver(self, **wish: Any) -> Json:
        """Ask for a waiver: model, environment, gate, name, version, expires_at, reason."""
        return self._api.post("/waivers", {name: value for name, value in wish.items() if value is not None})

    def waivers(self, **only: str | None) -> Iterator[Json]:
        """Waivers, newest first; ``only`` takes model, environment and state."""
        return self._api.pages("/waivers", **only)

    def waiver(self, id: str) -> Json:
        """One waiver."""
        return self._api.get(f"/waivers/{quote(id, safe='')}")

    def decide_waiver(self, id: str, decision: str, *, reason: str) -> Json:
        """Decide on a waiver: ``approve``, ``reject`` or ``revoke``."""
        return self._api.post(f"/waivers/{quote(id, safe='')}/{decision}", {"reason": reason})

    def force(self, promotion: str, *, reason: str) -> Json:
        """Release a refused or waiting promotion at once; somebody else has to review it."""
        return self._api.post(f"/promotions/{quote(promotion, safe='')}/force", {"reason": reason})

    def _listed(self, path: str) -> list[Any]:
        found: Any = self._api.get(path)
        return found
