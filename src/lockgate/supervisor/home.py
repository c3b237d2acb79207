"""The folder that an embedded platform lives in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """Where everything of one platform is."""

    root: Path

    @property
    def run(self) -> Path:
        """Lock, sockets and status of the running platform."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """What the children print, a file each."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def mlflow_socket(self) -> Path:
        return self.run / "mlflow.sock"

    @property
    def admin_token(self) -> Path:
        return self.root / "secrets" / "admin-token"

    @property
    def gateway_token(self) -> Path:
        return self.root / "secrets" / "gateway-token"

    def prepare(self) -> None:
        """Make the folders that are missing, closed to everybody else.

        Raises:
            OSError: when a folder cannot be made.
        """
        # Predictions and models are as private as the secrets: nobody else may look into the home at all.
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for name in ("run", "secrets", "logs", "blobs", "log", "gateway", "mlflow", "environments", "runners"):
            folder = self.root / name
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)


def default_home(env: Mapping[str, str]) -> Path:
    """The home that is meant when nobody names one: ``LOCKGATE_HOME``, or ``.lockgate`` in the user's own folder."""
    named = env.get("LOCKGATE_HOME", "")
    return Path(named) if named else Path(os.path.expanduser("~")) / ".lockgate"
