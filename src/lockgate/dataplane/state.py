"""The routes in force: taken whole from the control plane, kept on disk, never replaced by older ones."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from lockgate.adapters.secretfiles.folder import SecretFolder
from lockgate.base.errors import Unavailable
from lockgate.dataplane.access import Access, Grant
from lockgate.dataplane.controlclient import ControlClient
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loader import Loader
from lockgate.dataplane.memory import GiveBack
from lockgate.dataplane.routing import Held, LiveTable
from lockgate.domain.routing.table import EndpointRoute, Role, RouteTable
from lockgate.ports import Blobs

_WAIT = 20
_LONGEST_PAUSE = 5.0
#: The same while there are no routes at all: at a first start the control plane is a moment behind.
_FIRST_PAUSE = 0.2
#: Seconds until what could not be loaded is tried again: twice as long each time, up to the longest wait for news.
_TRY_AGAIN = 0.5
#: The same while something is being loaded that takes long.
_UNDER_WAY = 2.0


class AccessList(msgspec.Struct, frozen=True):
    """Who may predict, at a revision."""

    revision: str
    tokens: tuple[Grant, ...]


class GatewayState(msgspec.Struct, frozen=True):
    """What the control plane answers, and what ``state.json`` holds."""

    generation: int
    table: RouteTable
    access: AccessList
    #: In ``state.json`` only: endpoints that went on by an older route, for the table's has what cannot be loaded.
    held: dict[str, Held] = {}


_states = msgspec.json.Decoder(GatewayState)


def read_state(data: bytes) -> GatewayState:
    """Raises msgspec.MsgspecError when the bytes are no state."""
    return _states.decode(data)


class StateKeeper:
    """Follows the control plane and swaps whole tables into the gateway."""

    def __init__(self, gateway: Gateway, blobs: Blobs, client: ControlClient) -> None:
        self._gateway = gateway
        self._client = client
        home, worker = gateway.options.home, gateway.options.worker
        self._loader = Loader(home, worker, blobs, SecretFolder(home / "secrets" / "upstream"))
        self._path = gateway.options.folder / "state.json"
        self._memory = GiveBack()
        #: The newest state that was taken.
        self._state: GatewayState | None = None
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
        pause, again = 0.1, _TRY_AGAIN
        while True:
            try:
                fresh = await self._ask(again if self.problems else _WAIT)
                if fresh is None:
                    await self._try_again()
                    again = min(again * 2, _UNDER_WAY if self._loader.under_way else _WAIT)
                    pause = 0.1
                    continue
                again = _TRY_AGAIN
                if await self._take_and_keep(fresh):
                    pause = 0.1
                    continue
            except (Unavailable, OSError) as error:
                say("no routes from the control plane", error=str(error), pause=pause)
                await self._try_again()
            except msgspec.MsgspecError as error:
                say("the control plane's state makes no sense", error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _FIRST_PAUSE if self._gateway.table is None else _LONGEST_PAUSE)

    async def take(self, state: GatewayState) -> bool:
        """Load what a state needs, then put it in force; False when it is refused, and nothing changes then.

        An endpoint of which a live version cannot be loaded goes on by the route it had: one package that is missing
        here must hold up no change of another endpoint.
        """
        gateway = self._gateway
        current = gateway.table
        if current is not None and state.generation < current.generation:
            say("an older generation is refused", offered=state.generation, generation=current.generation)
            return False
        self._state = state
        if current is None or state.generation > current.generation or self.problems:
            before = {} if current is None else current.loaded
            gateway.table = table = await self._live(state)
            self._loader.keep(table.loaded, before, self._busy)
            gateway.counting.forget(table.loaded.values())
            self._memory.soon()
            # What was loaded stays until its last reference goes: with a hundred packages, a look at all of it by the
            # collector would hold up every request for some thirty milliseconds.
            gc.collect(1)
            gc.freeze()
            say("routes are in force", generation=state.generation, **({"held": table.held} if table.held else {}))
        if gateway.access.revision != state.access.revision:
            gateway.access = Access(state.access.revision, state.access.tokens)
        self.changed.set()
        return True

    async def _try_again(self) -> None:
        """Load once more what could not be loaded, without asking for the routes again."""
        if self.problems and self._state is not None:
            await self._take_and_keep(self._state)

    async def _ask(self, wait: float) -> GatewayState | None:
        table = self._gateway.table
        query = urlencode(
            {
                "generation": -1 if table is None else table.generation,
                "access": self._gateway.access.revision,
                "wait": wait,
            }
        )
        status, body = await self._client.get(f"/api/v1/gateway/state?{query}", timeout=wait + 10)
        if status == 304:
            return None
        if status != 200:
            raise Unavailable(f"the control plane answered {status}: {body[:200].decode(errors='replace')}")
        return read_state(body)

    async def _take_and_keep(self, state: GatewayState) -> bool:
        if not await self.take(state):
            return False
        table = self._gateway.table
        try:
            # A restart, when the older route's version is the only one that can be loaded, needs that route too.
            held = {} if table is None else table.older
            kept = msgspec.structs.replace(state, held=held)
            await asyncio.to_thread(keep, self._path, msgspec.json.encode(kept))
        except OSError as error:
            # Serving goes on; only a restart without the control plane would have to use an older state.
            say("the state cannot be kept", path=str(self._path), error=str(error))
        return True

    async def _live(self, state: GatewayState) -> LiveTable:
        """The state's table with all that can be loaded of it."""
        known = self._gateway.table.loaded if self._gateway.table is not None else {}
        problems: dict[str, str] = {}
        loaded = await self._load(_packages(state.table.endpoints), known, problems)
        older = state.held if self._gateway.table is None else self._gateway.table.in_force()
        # Those in which nothing is missing themselves: else there is nothing to hold on to.
        wanted = {route.name: older[route.name] for route in state.table.endpoints if route.name in older}
        wanted = {name: held for name, held in wanted.items() if _missing(state.table, name, loaded)}
        loaded |= await self._load(_packages(held.route for held in wanted.values()), known | loaded, problems)
        self.problems = problems
        self._loader.forget(_packages([*state.table.endpoints, *(held.route for held in wanted.values())]))
        return LiveTable(state.table, loaded, wanted)

    async def _load(self, packages: set[str], known: Mapping[str, Lane], problems: dict[str, str]) -> dict[str, Lane]:
        """Those of the packages that can be loaded, and why the others cannot; known ones are not loaded again."""
        loaded, missing = await self._loader.lanes(packages, known)
        problems |= missing
        return loaded

    def _busy(self, lane: Lane) -> bool:
        queue = self._gateway.plane.known_queue(lane)
        return queue is not None and bool(queue.waiting or queue.under_way)


def _packages(routes: Iterable[EndpointRoute]) -> set[str]:
    return {target.package for route in routes for target in route.targets}


def _missing(table: RouteTable, name: str, loaded: Mapping[str, Lane]) -> bool:
    """Whether a live version of the endpoint could not be loaded."""
    route = table.endpoint(name)
    return route is not None and any(
        target.role is Role.LIVE and target.package not in loaded for target in route.targets
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
