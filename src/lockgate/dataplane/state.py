"""The routes in force: taken whole from the control plane, kept on disk, never replaced by older ones."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from lockgate.base.errors import LockgateError, Unavailable
from lockgate.dataplane.access import Access, Grant
from lockgate.dataplane.controlclient import ControlClient
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.routing import LiveTable
from lockgate.domain.routing.table import Role, RouteTable
from lockgate.ports import Blobs

_WAIT = 20
_LONGEST_PAUSE = 5.0
#: The same while there are no routes at all: at a first start the control plane is a moment behind.
_FIRST_PAUSE = 0.2
_REFUSED_PAUSE = 0.5


class AccessList(msgspec.Struct, frozen=True):
    """Who may predict, at a revision."""

    revision: str
    tokens: tuple[Grant, ...]


class GatewayState(msgspec.Struct, frozen=True):
    """What the control plane answers, and what ``state.json`` holds."""

    generation: int
    table: RouteTable
    access: AccessList


def read_state(data: bytes) -> GatewayState:
    """Raises msgspec.MsgspecError when the bytes are no state."""
    return msgspec.json.decode(data, type=GatewayState)


class StateKeeper:
    """Follows the control plane and swaps whole tables into the gateway."""

    def __init__(self, gateway: Gateway, blobs: Blobs, client: ControlClient) -> None:
        self._gateway = gateway
        self._blobs = blobs
        self._client = client
        self._path = gateway.options.folder / "state.json"
        #: Packages that could not be loaded, and why; told with each heartbeat.
        self.problems: dict[str, str] = {}
        #: Set whenever another generation is in force.
        self.changed = asyncio.Event()

    async def restore(self) -> bool:
        """Start from the last good state; False when there is none that can be used."""
        try:
            state = read_state(self._path.read_bytes())
        except FileNotFoundError:
            return False
        except (OSError, msgspec.MsgspecError) as error:
            say("the last good state cannot be read", path=str(self._path), error=str(error))
            return False
        return await self.take(state)

    async def follow(self) -> None:
        """Take each new state, for ever."""
        pause = 0.1
        while True:
            try:
                fresh = await self._ask()
                pause = 0.1
                if fresh is None or await self._take_and_keep(fresh):
                    continue
                # A state that cannot be taken must not keep the next one waiting.
                await asyncio.sleep(_REFUSED_PAUSE)
                continue
            except (Unavailable, OSError) as error:
                say("no routes from the control plane", error=str(error), pause=pause)
            except msgspec.MsgspecError as error:
                say("the control plane's state makes no sense", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _FIRST_PAUSE if self._gateway.table is None else _LONGEST_PAUSE)

    async def take(self, state: GatewayState) -> bool:
        """Load what a state needs, then put it in force; False when it is refused, and nothing changes then."""
        gateway = self._gateway
        current = gateway.table
        if current is not None and state.generation < current.generation:
            say("an older generation is refused", offered=state.generation, generation=current.generation)
            return False
        if current is None or state.generation > current.generation or self.problems:
            loaded = await self._load(state.table)
            if current is not None and self._missing(state.table, loaded):
                say("a generation with versions that cannot be loaded is refused", problems=self.problems)
                self.changed.set()
                return False
            gateway.table = LiveTable(state.table, loaded)
            gateway.counting.forget(loaded.values())
            say("routes are in force", generation=state.generation)
        if gateway.access.revision != state.access.revision:
            gateway.access = Access(state.access.revision, state.access.tokens)
        self.changed.set()
        return True

    async def _ask(self) -> GatewayState | None:
        table = self._gateway.table
        query = urlencode(
            {
                "generation": -1 if table is None or self.problems else table.generation,
                "access": self._gateway.access.revision,
                "wait": _WAIT,
            }
        )
        status, body = await self._client.get(f"/api/v1/gateway/state?{query}", timeout=_WAIT + 10)
        if status == 304:
            return None
        if status != 200:
            raise Unavailable(f"the control plane answered {status}: {body[:200].decode(errors='replace')}")
        return read_state(body)

    async def _take_and_keep(self, state: GatewayState) -> bool:
        if not await self.take(state):
            return False
        try:
            await asyncio.to_thread(keep, self._path, msgspec.json.encode(state))
        except OSError as error:
            # Serving goes on; only a restart without the control plane would have to use an older state.
            say("the state cannot be kept", path=str(self._path), error=str(error))
        return not self.problems

    async def _load(self, table: RouteTable) -> dict[str, Lane]:
        """Every package of the table that can be loaded; those in force are not loaded again."""
        known = self._gateway.table.loaded if self._gateway.table is not None else {}
        loaded: dict[str, Lane] = {}
        self.problems = {}
        for digest in {target.package for route in table.endpoints for target in route.targets}:
            if digest in known:
                loaded[digest] = known[digest]
                continue
            try:
                loaded[digest] = await asyncio.to_thread(load, digest, self._blobs)
            except Exception as error:
                # Whatever one package brings along, it must not end the worker that answers for all the others.
                self.problems[digest] = str(error) if isinstance(error, LockgateError) else repr(error)
                say("a package cannot be loaded", package=digest, error=self.problems[digest])
        return loaded

    def _missing(self, table: RouteTable, loaded: dict[str, Lane]) -> bool:
        return any(
            target.role is Role.LIVE and target.package not in loaded
            for route in table.endpoints
            for target in route.targets
        )


def keep(path: Path, data: bytes) -> None:
    """Replace a file so that it is the old one or the new one, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
