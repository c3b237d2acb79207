"""What the chapters of the story share: who is on stage, and what several of them do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lockgate.demo.child import Child, Json, NotHappened
from lockgate.demo.platform import Platform
from lockgate.demo.screen import Screen
from lockgate.sdk.client import Client

MODEL = "thyroid"
ENDPOINT = "thyroid.prod"
_LOOK = 0.2  # seconds


@dataclass(frozen=True, kw_only=True)
class People:
    """Who is signed in, each with a token of their own."""

    admin: Client
    #: Develops models.
    ada: Client
    #: Approves what goes to production, and runs it.
    grace: Client
    #: The clinics' own system.
    clinics: Client
    clinics_token: str
    ada_token: str

    def close(self) -> None:
        for client in (self.admin, self.ada, self.grace, self.clinics):
            client.close()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything a chapter may need."""

    #: Folder with lockgate.yaml, the tables and the clinics' records.
    project: Path
    platform: Platform
    people: People
    notebook: Child
    clinics: Child
    screen: Screen

    @property
    def config(self) -> Path:
        """The lockgate.yaml beside the models."""
        return self.project / "lockgate.yaml"

    def predictions(self, version: int, phase: str) -> int:
        """How many predictions of a version the clinics have had in a phase."""
        return int(self.clinics.state.get("by", {}).get(f"{version} {phase}", 0))

    def wait_for_predictions(self, version: int, phase: str, least: int) -> None:
        """Until the clinics have had so many; raises NotHappened when they do not come."""
        what = f"{least:,} predictions of v{version}"
        self.clinics.wait_until(what, lambda state: self.predictions(version, phase) >= least)

    def wait_for(self, what: str, look: Callable[[], Json | None], *, patience: float = 60.0) -> Json:
        """Look until there is something; raises NotHappened after ``patience`` seconds."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            found = look()
            if found is not None:
                return found
            time.sleep(_LOOK)
        raise NotHappened(f"{what}: not within {patience:.0f} s")
