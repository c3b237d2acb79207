"""Packages on their way to being served: each is loaded once, slow ones beside the others, and let go when unused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lockgate.adapters.python_runner.launch import sweep
from lockgate.base.errors import LockgateError
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load, read_manifest
from lockgate.dataplane.python_lane import Runners
from lockgate.dataplane.python_lane import load as load_python
from lockgate.ports import Blobs, Secrets

#: Seconds that a table waits for packages that start processes, while nothing says that it will take longer.
_PATIENCE = 10.0
_LOOK = 0.05
#: Seconds that a stream of a lane that is let go may still take.
_STREAMING = 600.0
#: Seconds before a package that could not be loaded is tried again: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


@dataclass
class _Step:
    """What is being waited for."""

    sentence: str = "it is being loaded"
    #: Whether processes are started for it, and whether it even takes minutes.
    processes: bool = False
    long: bool = False


@dataclass
class _Loading:
    """One package that is not in force yet."""

    task: asyncio.Task[Lane]
    step: _Step


@dataclass
class _Failure:
    """A package that could not be loaded."""

    sentence: str
    again: float
    pause: float


@dataclass
class _Books:
    """What the loader knows, by package digest."""

    loading: dict[str, _Loading] = field(default_factory=dict[str, _Loading])
    failed: dict[str, _Failure] = field(default_factory=dict[str, _Failure])


class Loader:
    """Knows how to turn digests into lanes. Used by the loop's thread alone."""

    def __init__(self, home: Path, worker: str, blobs: Blobs, secrets: Secrets) -> None:
        """``worker``: which of the gateways of ``home`` this is."""
        self._blobs = blobs
        self._secrets = secrets
        self._runners = Runners.at(home, worker, blobs)
        # What runners of an earlier process of ours worked in.
        sweep(self._runners.work)
        self._books = _Books()
        self._turn = asyncio.Semaphore(1)
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> bool:
        """Whether something is being loaded just now."""
        return bool(self._books.loading)

    async def lanes(self, digests: Iterable[str], known: Mapping[str, Lane]) -> tuple[dict[str, Lane], dict[str, str]]:
        """The lanes that can be had by now, and why the others cannot.

        Args:
            digests: of all packages that are wanted.
            known: lanes that are in force already.
        """
        wanted = set(digests)
        loaded = {digest: lane for digest, lane in known.items() if digest in wanted}
        now = time.monotonic()
        for digest in wanted - loaded.keys() - self._books.loading.keys():
            failure = self._books.failed.get(digest)
            if failure is None or failure.again <= now:
                self._begin(digest)
        await self._wait(wanted)
        problems: dict[str, str] = {}
        for digest in wanted - loaded.keys():
            loading = self._books.loading.get(digest)
            if loading is None:
                problems[digest] = self._books.failed[digest].sentence
            elif not loading.task.done():
                problems[digest] = loading.step.sentence
            else:
                self._settle(digest, loading.task, loaded, problems)
        return loaded, problems

    def keep(self, lanes: Mapping[str, Lane], before: Mapping[str, Lane], busy: Callable[[Lane], bool]) -> None:
        """Lanes are in force: what is not among them is closed, after its last request.

        Args:
            lanes: in force now.
            before: in force until now.
            busy: whether requests to a lane are under way.
        """
        for digest, lane in before.items():
            if digest not in lanes:
                task = asyncio.get_running_loop().create_task(_leave(lane, busy))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
        for digest in [digest for digest in self._books.loading if digest in lanes]:
            del self._books.loading[digest]

    def forget(self, wanted: Iterable[str]) -> None:
        """Stop loading packages that nobody wants any more."""
        kept = set(wanted)
        for digest in [digest for digest in self._books.loading if digest not in kept]:
            loading = self._books.loading.pop(digest)
            loading.task.cancel()
            loading.task.add_done_callback(_closed)
        for digest in [digest for digest in self._books.failed if digest not in kept]:
            del self._books.failed[digest]

    def _begin(self, digest: str) -> None:
        step = _Step()
        self._books.loading[digest] = _Loading(asyncio.get_running_loop().create_task(self._load(digest, step)), step)

    async def _load(self, digest: str, step: _Step) -> Lane:
        manifest = await asyncio.to_thread(read_manifest, digest, self._blobs)
        if manifest.lane != "python":
            # One after the other: each is timed, and must not find the others on its core.
            async with self._turn:
                return await asyncio.to_thread(load, digest, self._blobs, secrets=self._secrets)
        step.processes = True

        def tell(what: str) -> None:
            step.sentence, step.long = f"{manifest.model}: {what}", "environment" in what
            say("a package is being loaded", package=digest, step=step.sentence)

        lane = await load_python(manifest, self._blobs, self._runners, tell)
        await asyncio.to_thread(self._runners.tidy, time.time())
        return lane

    async def _wait(self, wanted: set[str]) -> None:
        give_up = time.monotonic() + _PATIENCE
        while True:
            open_ones = [
                loading
                for digest, loading in self._books.loading.items()
                if digest in wanted and not loading.task.done()
            ]
            if all(loading.step.long for loading in open_ones):
                return
            if time.monotonic() > give_up and all(loading.step.processes for loading in open_ones):
                return
            await asyncio.wait([loading.task for loading in open_ones], timeout=_LOOK)

    def _settle(self, digest: str, task: asyncio.Task[Lane], loaded: dict[str, Lane], problems: dict[str, str]) -> None:
        try:
            loaded[digest] = task.result()
            self._books.failed.pop(digest, None)
        except Exception as error:
            # Whatever one package brings along, it must not end the worker that answers for all the others.
            sentence = str(error) if isinstance(error, LockgateError) else repr(error)
            before = self._books.failed.get(digest)
            pause = min(_LONGEST_PAUSE, before.pause * 2) if before else _FIRST_PAUSE
            self._books.failed[digest] = _Failure(sentence, time.monotonic() + pause, pause)
            del self._books.loading[digest]
            problems[digest] = sentence
            say("a package cannot be loaded", package=digest, error=sentence)


async def _leave(lane: Lane, busy: Callable[[Lane], bool]) -> None:
    if lane.shared:
        # Answers of a server elsewhere may still be streaming, which nobody counts.
        await asyncio.sleep(_STREAMING)
    while busy(lane):
        await asyncio.sleep(_LOOK)
    lane.close()


def _closed(task: asyncio.Task[Lane]) -> None:
    """A package that came too late for anybody to want it."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
