"""Prometheus metrics of all workers of this machine, whichever of them is scraped.

Workers share a port, so nobody can scrape one of them alone. Each keeps its numbers in ``gateway/<worker>/metrics``
and whoever is scraped adds the others' to its own. Nothing is exposed that is not in that file before, so a worker
that is killed goes on from what was seen of it last, and no counter ever falls.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from lockgate.dataplane.counting import Counting
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.telemetry.exposition import chosen, exposed
from lockgate.dataplane.telemetry.process import Process
from lockgate.dataplane.telemetry.snapshot import (
    Family,
    Kept,
    Snapshot,
    Value,
    Version,
    carried,
    decoded,
    drop,
    encoded,
    together,
)

#: A worker whose file is older does not live: what it counted stays, its gauges go.
ALIVE_SECONDS = 10.0
#: Between two files while nothing is asked.
IDLE_SECONDS = 3.0
#: A version without a route that nobody asked for so long is exposed no more, and twice as long after is forgotten.
SHOWN_SECONDS = 3600.0
#: Of those, so many of an endpoint are exposed that were asked last, and twice as many are kept: a gateway that takes
#: version after version does not grow with them.
SHOWN_GONE = 12

#: Statuses of requests that were turned away before any work, and may come again.
_SHED = (429, 503)
_REFUSED = Family("lockgate_refused_total", "counter", "Requests answered with an error.", ("status", "code"))
_SHEDS = Family("lockgate_shed_total", "counter", "Requests turned away before any work, by reason.", ("reason",))
_LATE = Family("lockgate_deadline_exceeded_total", "counter", "Requests whose deadline passed first.")
_WORKERS = Family(
    "lockgate_worker_info", "gauge", "A living worker and its release.", ("worker", "release"), alive=True
)

#: Name, type, help and value of what others count. Gauges are labelled by worker, counters are added up.
Gauge = tuple[str, str, str, Callable[[], float]]
#: The same with labels of its own: families, and what gives values with the values of their labels.
Source = tuple[tuple[Family, ...], Callable[[], Iterable[tuple[Family, tuple[str, ...], float]]]]


class Metrics:
    """One worker's numbers, kept in its folder and added to the others'."""

    def __init__(self, counting: Counting, folder: Path, release: str, clock: Callable[[], float] = time.time) -> None:
        self._counting = counting
        self._totals = counting.totals
        self._path = folder / "metrics"
        self._worker = folder.name
        self._release = release
        self._clock = clock
        self._process = Process(clock)
        self._refused: dict[tuple[int, str], int] = {}
        #: Of lanes that had to mend something: restarts and retries counted so far.
        self._mended: WeakKeyDictionary[Lane, tuple[int, int]] = WeakKeyDictionary()
        self._serial = self._written = 0
        self._writing = threading.Lock()
        self._trouble = ""
        self._kept_at = 0.0
        self._kept_mark = (-1, -1)
        self.gauges: list[Gauge] = []
        self.sources: list[Source] = []
        #: Endpoints and versions in the routes: they are exposed however long nobody asks.
        self.routed: Callable[[], set[tuple[str, str]]] = set
        self._previous = self._before()

    def refused(self, refused: Refused) -> None:
        """A request that was answered with an error."""
        key = (refused.status, refused.code)
        self._refused[key] = self._refused.get(key, 0) + 1

    def scrape(self, accept: str) -> tuple[str, bytes]:
        """The content type and the whole of a scrape."""
        return self._render(*self._sealed(self._own()), self.routed(), accept)

    def scrape_aside(self, accept: str, answer: Callable[[str, bytes], None]) -> None:
        """The same in a thread; ``answer`` is called with it in the loop's."""
        mine = self._sealed(self._own())
        rendering = asyncio.get_running_loop().run_in_executor(None, self._render, *mine, self.routed(), accept)
        rendering.add_done_callback(lambda done: answer(*done.result()))

    def _render(self, serial: int, data: bytes, routed: set[tuple[str, str]], accept: str) -> tuple[str, bytes]:
        # Before anybody sees it: see above.
        self._keep(serial, data)
        # Read from its bytes, for this worker goes on counting.
        snapshots = [decoded(data), *self._others()]
        families = together(snapshots)
        drop(families, self._unused(snapshots, 1, routed))
        form = chosen(accept)
        return form, exposed(families, form)

    async def run(self, every: float = 1.0) -> None:
        """Keep the numbers on disk, for ever."""
        while True:
            now = self._clock()
            self._counting.fold()
            mark = (self._totals.changes, sum(self._refused.values()))
            if mark != self._kept_mark or now - self._kept_at >= IDLE_SECONDS:
                self._kept_mark, self._kept_at = mark, now
                # The disk may take its time; whoever asks for a prediction does not wait for it.
                await asyncio.to_thread(self._keep, *self._sealed(self._own()))
            await asyncio.sleep(every)

    def close(self) -> None:
        """Keep the last numbers, with gauges that count no more."""
        own = self._own()
        self._keep(*self._sealed(Snapshot(0.0, [kept for kept in own.families if not kept.family.alive], own.used)))

    def _own(self) -> Snapshot:
        """What this worker counted, the processes before this one included."""
        now = self._clock()
        self._counting.fold()
        self._mend(now)
        fresh = Snapshot(now, [*self._totals.families(), *self._answers(), *self._others_count()], self._totals.used())
        gone = self._unused([fresh, self._previous], 2, self.routed())
        if gone:
            self._totals.forget(gone)
            drop(fresh.families, gone)
            self._previous = carried(self._previous, gone)
        fresh.families = together([fresh, self._previous])
        fresh.used = {**self._previous.used, **fresh.used}
        return fresh

    def _mend(self, now: float) -> None:
        for (endpoint, version, role), tally in self._counting.tallies.items():
            lane = tally.lane
            before, counted = self._mended.get(lane, (0, 0)), (lane.restarts, lane.retries)
            if counted != before:
                self._mended[lane] = counted
                restarts, retries = counted[0] - before[0], counted[1] - before[1]
                self._totals.mend((endpoint, version, role), now, restarts=restarts, retries=retries)

    def _answers(self) -> Iterator[Kept]:
        refused: dict[tuple[str, ...], Value] = {}
        sheds: dict[tuple[str, ...], Value] = {}
        late = 0
        for (status, code), count in self._refused.items():
            refused[str(status), code] = count
            if status in _SHED:
                sheds[code,] = count
            elif status == HTTPStatus.GATEWAY_TIMEOUT:
                late += count
        yield Kept(_REFUSED, refused)
        yield Kept(_SHEDS, sheds)
        yield Kept(_LATE, {(): late})

    def _others_count(self) -> Iterator[Kept]:
        """What is counted elsewhere in this process."""
        yield Kept(_WORKERS, {(self._worker, self._release): 1})
        for name, kind, told, value in self.gauges:
            if kind == "gauge":
                yield Kept(Family(name, kind, told, ("worker",), alive=True), {(self._worker,): value()})
            else:
                yield Kept(Family(name, kind, told), {(): value()})
        for family, number in self._process.numbers():
            yield Kept(family, {(self._worker,): number})
        for families, numbers in self.sources:
            found = {family.name: Kept(family) for family in families}
            for family, labels, number in numbers():
                found[family.name].series[labels] = number
            yield from found.values()

    def _unused(self, snapshots: list[Snapshot], times: int, routed: set[tuple[str, str]]) -> set[Version]:
        """Versions without a route that nobody asked for long, or since many others: ``times`` as long, as many."""
        used: dict[Version, float] = {}
        for snapshot in snapshots:
            for version, at in snapshot.used.items():
                if version[:2] not in routed:
                    used[version] = max(at, used.get(version, 0.0))
        since = self._clock() - times * SHOWN_SECONDS
        left: defaultdict[str, int] = defaultdict(lambda: times * SHOWN_GONE)
        unused: set[Version] = set()
        for version in sorted(used, key=used.__getitem__, reverse=True):
            left[version[0]] -= 1
            if used[version] < since or left[version[0]] < 0:
                unused.add(version)
        return unused

    # --- files

    def _others(self) -> Iterator[Snapshot]:
        for path in sorted(self._path.parent.parent.glob("*/metrics")):
            if path == self._path:
                continue
            found = _read(path)
            if found is None:
                continue
            if found.at < self._clock() - ALIVE_SECONDS:
                found.families = [kept for kept in found.families if not kept.family.alive]
            yield found

    def _before(self) -> Snapshot:
        """What the last process of this worker counted."""
        found = _read(self._path)
        if found is None:
            return Snapshot(0.0, [])
        found.families = [kept for kept in found.families if not kept.family.alive]
        return found

    def _sealed(self, snapshot: Snapshot) -> tuple[int, bytes]:
        self._serial += 1
        return self._serial, encoded(snapshot)

    def _keep(self, serial: int, data: bytes) -> None:
        """Replace the file, unless a later one is there already; from any thread."""
        with self._writing:
            if serial < self._written:
                return
            self._written = serial
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                fresh = self._path.with_suffix(".new")
                # Not synced: a machine that loses its power starts its counters anew, and that happens seldom.
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                    file.write(data)
                fresh.replace(self._path)
            except OSError as error:
                if str(error) != self._trouble:
                    say("the metrics cannot be kept", path=str(self._path), error=str(error))
                self._trouble = str(error)


def _read(path: Path) -> Snapshot | None:
    try:
        return decoded(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        say("metrics of a worker cannot be read", path=str(path), error=str(error))
        return None
