"""A control plane of real parts in a fresh home, for tests that ask it over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from lockgate import wiring
from lockgate.base.clock import Clock
from lockgate.controlplane.parts import Parts
from lockgate.domain.access.records import RoleName
from lockgate.domain.access.tokens import RANDOM_BYTES
from lockgate.ports import Why
from lockgate.settings import load
from lockgate.workflows.add_person import add_person
from lockgate.workflows.identify import Identities
from lockgate.workflows.issue_token import TokenWish, issue_token


@dataclass(frozen=True, kw_only=True)
class Control:
    """The parts, and tokens for people who use them."""

    parts: Parts
    chance: Callable[[int], bytes]

    def token(
        self,
        name: str,
        *roles: RoleName,
        person: bool = True,
        environments: tuple[str, ...] = (),
        lasts: timedelta = timedelta(hours=1),
    ) -> str:
        """The text of a token of somebody new with these roles."""
        parts = self.parts
        why = Why(actor="lockgate", reason="for a test", at=parts.clock.now())
        add_person(parts.store, name, roles, why, person=person)
        wish = TokenWish(principal=name, purpose="testing", expires_at=why.at + lasts, environments=environments)
        return issue_token(parts.store, parts.ids, self.chance(RANDOM_BYTES), wish, why)[1]


def control_in(home: Path, clock: Clock | None = None) -> Control:
    """A control plane at home in a folder, by the machine's clock or another."""
    parts = wiring.control_parts(load({"LOCKGATE_HOME": str(home)}))
    if clock is not None:
        parts = replace(parts, clock=clock, identities=Identities(parts.store, clock))
    return Control(parts=parts, chance=wiring.chance)


@contextmanager
def served(app: ASGIApp) -> Generator[str]:
    """The address of an application that a thread of this process serves over TCP."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            assert time.monotonic() < end, "the application did not start in time"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
