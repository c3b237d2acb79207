"""Explains answers of every lane: compiled packages in a process of the platform's own, others by asking their lane."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.python_runner.explainer import permutation
from lockgate.adapters.python_runner.explainer.permutation import OTHERS, ROWS, Parts
from lockgate.adapters.python_runner.folders import ModelFolders
from lockgate.adapters.python_runner.launch import Launch
from lockgate.base.errors import NotServable
from lockgate.dataplane.explain.background import background
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane, cut
from lockgate.dataplane.refusal import Refused, bad_input, too_late, unavailable
from lockgate.dataplane.runner_pool import RunnerPool
from lockgate.dataplane.runner_process import RunnerGone, RunnerHung, RunnerProcess
from lockgate.domain.registry.serving import RunnerLimits
from lockgate.ports import Blobs

_MODULE = "lockgate.adapters.python_runner.explainer.serve"
#: Rows in one request, and rows that each is compared with: in a process of ours, and where a lane has to be asked.
MOST_ROWS = 100
_OTHERS, _FEW_OTHERS = 100, 20
#: Features that a row may have.
_MOST_FEATURES = 512
#: Rows that a lane is asked for one that is explained, and at once.
_MOST_ASKED, _AT_ONCE = 2_000, 64
_LIMITS = RunnerLimits(processes=1, memory_bytes=2 << 30, call_seconds=60.0)
#: Seconds without a request after which its process is ended: it holds as much memory as a gateway.
_IDLE = 600.0
#: Originals that can be opened without running what they bring along; packaging has looked at every type in them.
_SAFE = ("skops", "lightgbm-text")


class Explainer:
    """One worker's. Its process starts with the first request that needs it."""

    def __init__(self, work: Path, folders: ModelFolders, blobs: Blobs) -> None:
        """``work``: where its process has its folder."""
        self._work = work
        self._folders = folders
        self._blobs = blobs
        self._pool: RunnerPool | None = None
        self._starting: asyncio.Task[RunnerPool] | None = None
        #: Requests in the process or on their way there, and when the last one ended.
        self._underway = 0
        self._ended = 0.0
        self._others: WeakKeyDictionary[Lane, Inputs] = WeakKeyDictionary()
        # Threads that ask a lane on behalf of one request each.
        self._asking = asyncio.Semaphore(2)

    @classmethod
    def at(cls, home: Path, worker: str, blobs: Blobs) -> Explainer:
        """In the places of a platform's home; ``worker``: which of its gateways this is."""
        folders = ModelFolders(home / "runners" / "models", blobs)
        return cls(home / "runners" / "explaining" / worker, folders, blobs)

    async def explain(self, lane: Lane, inputs: Inputs, wanted: str, deadline: float | None) -> dict[str, Any]:
        """What each value of each row had to do with its answer.

        Args:
            lane: that answers for the package.
            inputs: the rows, checked.
            wanted: class whose probability is explained; empty takes the positive one, or else each row's own.
            deadline: monotonic seconds.

        Raises:
            Refused: 501 for a model without scores, 400 for too many rows or an unknown class, 422 when the model
                cannot take the rows, 503 when the process cannot be started, 504 when there was not enough time.
        """
        manifest = lane.manifest
        if manifest.task not in ("classification", "regression"):
            raise Refused(501, "not_explainable", f"{manifest.model} gives no score that could be explained")
        names = [name for column in lane.intake.columns for name in _elements(column.name, column.shape)]
        if len(inputs[0]) > MOST_ROWS:
            raise bad_input(f"{len(inputs[0])} rows are too many to be explained at once", f"send {MOST_ROWS} at most")
        if len(names) > _MOST_FEATURES:
            raise Refused(501, "not_explainable", f"{manifest.model} takes too many values a row to explain each")
        place = _place(manifest.classes, wanted or manifest.positive)
        if manifest.lane == "compiled":
            parts, places, method = await self._here(lane, inputs, place, deadline)
        else:
            parts, places, method = await self._there(lane, inputs, place, deadline)
        return {
            "explanations": [
                {
                    "base_value": part.base,
                    "values": dict(zip(names, np.asarray(part.values).tolist(), strict=True)),
                    "prediction": part.prediction,
                    **({"class": manifest.classes[at]} if manifest.classes else {}),
                }
                for part, at in zip(parts, places, strict=True)
            ],
            "output": "probability" if manifest.classes else "prediction",
            "method": method,
        }

    def close(self) -> None:
        """End its process."""
        if self._starting is not None:
            self._starting.cancel()
        if self._pool is not None:
            self._pool.close()

    async def _here(
        self, lane: Lane, inputs: Inputs, place: int | None, deadline: float | None
    ) -> tuple[list[Parts], list[int], str]:
        said = await asyncio.to_thread(self._said, lane)
        columns = {f"{ROWS}{at}": array for at, array in enumerate(inputs)}
        columns |= {f"{OTHERS}{at}": array for at, array in enumerate(self._background(lane, _OTHERS))}
        self._underway += 1
        try:
            pool = await self._opened(deadline)
            process = await pool.take(deadline)
            header, found = await _called(pool, process, columns, said | {"place": place}, deadline)
        finally:
            self._underway -= 1
            self._ended = time.monotonic()
            asyncio.get_running_loop().call_later(_IDLE, self._rest)
        if "refused" in header:
            raise _refused(lane, str(header["refused"]))
        parts = [
            Parts(base=float(base), values=values, prediction=float(prediction))
            for base, values, prediction in zip(found["base"], found["values"], found["prediction"], strict=True)
        ]
        return parts, found["places"].tolist(), header["method"]

    def _rest(self) -> None:
        if self._pool is not None and not self._underway and time.monotonic() - self._ended >= _IDLE:
            self._pool.close()
            self._pool = self._starting = None

    async def _there(
        self, lane: Lane, inputs: Inputs, place: int | None, deadline: float | None
    ) -> tuple[list[Parts], list[int], str]:
        """Work it out in a thread that has the lane asked, some rows at a time, so that others get their turn."""
        loop = asyncio.get_running_loop()
        others = self._background(lane, _FEW_OTHERS)
        first = _scores(await _asked(lane, inputs, deadline))
        places = first.argmax(axis=1) if place is None else np.full(len(first), place)

        def ask(rows: Inputs, at: int) -> NDArray[np.float64]:
            starts = range(0, len(rows[0]), _AT_ONCE)
            pieces = (cut(rows, start, start + _AT_ONCE) for start in starts)
            return np.concatenate(
                [
                    _scores(asyncio.run_coroutine_threadsafe(_asked(lane, piece, deadline), loop).result())[:, at]
                    for piece in pieces
                ]
            )

        def work() -> list[Parts]:
            return [
                permutation.explain(
                    cut(inputs, row, row + 1), others, lambda rows, at=at: ask(rows, at), most_rows=_MOST_ASKED
                )
                for row, at in enumerate(places.tolist())
            ]

        async with self._asking:
            return await asyncio.to_thread(work), places.tolist(), "permutation"

    def _said(self, lane: Lane) -> dict[str, Any]:
        """What the process has to know of a package."""
        manifest = lane.manifest
        graph = manifest.graph
        if graph is None:
            raise unavailable(f"{manifest.model} has no graph")
        safe = manifest.serialization in _SAFE
        return {
            "package": manifest.digest,
            "path": str(self._blobs.path(manifest.files[graph.path].digest)),
            "names": list(lane.intake.names),
            "score_output": graph.score_output,
            "folder": str(self._folders.of(manifest)) if safe else "",
            "inputs": [
                {"name": column.name, "datatype": column.datatype, "shape": column.shape, "optional": column.optional}
                for column in lane.intake.columns
            ],
        }

    def _background(self, lane: Lane, rows: int) -> Inputs:
        found = self._others.get(lane)
        if found is None:
            found = self._others[lane] = background(lane.intake, lane.baseline, rows)
        return found

    async def _opened(self, deadline: float | None) -> RunnerPool:
        """The pool of one process; it goes on starting when a caller gives up."""
        if self._pool is not None:
            return self._pool
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        try:
            async with asyncio.timeout(_left(deadline)):
                return await asyncio.shield(self._starting)
        except TimeoutError:
            raise too_late() from None
        except (NotServable, OSError) as error:
            self._starting = None
            raise unavailable(f"explanations cannot be worked out just now: {error}") from error

    async def _start(self) -> RunnerPool:
        launch = Launch(
            interpreter=Path(sys.executable),
            folder=self._work,
            work=self._work,
            columns=(),
            memory_bytes=_LIMITS.memory_bytes,
            module=_MODULE,
        )
        pool = RunnerPool(launch, "the explainer", _LIMITS, asyncio.Semaphore(1))
        await pool.open()
        self._pool = pool
        return pool


async def _called(
    pool: RunnerPool, process: RunnerProcess, columns: dict[str, Any], said: dict[str, Any], deadline: float | None
) -> tuple[dict[str, Any], Any]:
    call = process.call("explain", columns, _LIMITS.call_seconds, said)
    call.add_done_callback(lambda _: pool.give(process))
    # Waited for, not awaited: who gives up leaves the call to its end, and the process busy until then.
    await asyncio.wait((call,), timeout=_left(deadline))
    if not call.done():
        raise too_late()
    try:
        return call.result()
    except RunnerHung:
        raise unavailable(f"the explanation took more than {_LIMITS.call_seconds:g} s") from None
    except RunnerGone:
        raise unavailable("the process that explains has ended") from None


async def _asked(lane: Lane, rows: Inputs, deadline: float | None) -> Answer:
    if deadline is not None and deadline <= time.monotonic():
        raise too_late()
    answer = await lane.ask(rows, deadline)
    if not answer.sound() or answer.scores.shape[1] == 0:
        raise _refused(lane, "it gives no number for them")
    return answer


def _scores(answer: Answer) -> NDArray[np.float64]:
    return np.asarray(answer.scores, dtype=np.float64)


def _elements(name: str, shape: tuple[int, ...]) -> list[str]:
    """The features of a column: itself, or each of its elements."""
    return [name] if not shape else [f"{name}[{at}]" for at in range(int(np.prod(shape)))]


def _place(classes: Sequence[str], wanted: str | None) -> int | None:
    if not classes:
        return 0
    if not wanted:
        return None
    if wanted not in classes:
        raise bad_input(f"the model has no class {wanted!r:.60}", "it has " + ", ".join(classes)[:300])
    return list(classes).index(wanted)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _refused(lane: Lane, why: str) -> Refused:
    return Refused(422, "model_error", f"{lane.manifest.model} cannot be explained for these values: {why[:300]}")
