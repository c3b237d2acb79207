"""The python lane: a package's own model in processes of its own, asked over a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.adapters.python_runner.environments import Environments
from lockgate.adapters.python_runner.folders import ModelFolders
from lockgate.adapters.python_runner.inputs import matrix_type
from lockgate.adapters.python_runner.launch import Launch
from lockgate.adapters.python_runner.program.frames import MATRIX
from lockgate.adapters.python_runner.requirements import wanted
from lockgate.adapters.python_runner.unused import remove_unused
from lockgate.base.errors import NotServable
from lockgate.dataplane.compiled import neutral_rows
from lockgate.dataplane.intake import Inputs, Intake
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Answer, Lane, baseline_of, cut
from lockgate.dataplane.refusal import PROCESS_ENDED, Refused, process_ended, too_late, unavailable
from lockgate.dataplane.runner_pool import RunnerPool
from lockgate.dataplane.runner_process import RunnerGone, RunnerHung
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.layout import Failure
from lockgate.domain.registry.manifest import Manifest
from lockgate.ports import Blobs

#: Batch sizes whose answers are compared with each row's own at load, as far as the model is quick enough.
_PROBED = (2, 3, 8, 17)
_TIMED_ROWS = 64
#: Rows that calls are filled up to where only that gives the same bits in any company, and seconds that it may cost.
_BLOCK, _CHEAP = 64, 0.0005
#: Seconds that proving may take before fewer rows have to do.
_PATIENCE = 5.0
#: How far answers may lie apart and still differ by rounding only, as a share.
_ROUNDING = 1e-6
#: Seconds for the self-inference that readiness rests on.
_CHECK = 5.0


@dataclass(frozen=True, kw_only=True)
class Runners:
    """What runner processes are made of, and where."""

    environments: Environments
    folders: ModelFolders
    work: Path
    #: Held by whoever opens a model, so that few do at a time.
    starting: asyncio.Semaphore

    @classmethod
    def at(cls, home: Path, worker: str, blobs: Blobs) -> Runners:
        """In the places of a platform's home; ``worker``: which of its gateways this is."""
        return cls(
            environments=Environments(home / "environments"),
            folders=ModelFolders(home / "runners" / "models", blobs),
            work=home / "runners" / "work" / worker,
            starting=asyncio.Semaphore(2),
        )

    def tidy(self, now: float) -> None:
        """Remove environments and laid-out packages that nobody has run from for long; ``now``: Unix seconds."""
        for root in (self.environments.root, self.folders.root):
            try:
                for name in remove_unused(root, now):
                    say("removed what nobody ran from for long", folder=str(root / name))
            except OSError as error:
                # Another gateway tidies the same place. What is left now is found the next time.
                say("some of what nobody runs from is left", folder=str(root), error=str(error))


class PythonLane(Lane):
    """A package whose model runs in processes of its own."""

    local = False
    platform = "python"

    def __init__(self, manifest: Manifest, baseline: Baseline, intake: Intake, pool: RunnerPool) -> None:
        super().__init__(manifest, baseline, intake)
        self.slots = manifest.serving.runner.processes
        self._pool = pool
        pool.on_replaced = self._replaced
        #: Calls are filled up to a multiple of so many rows.
        self._block = 1
        self._loop = asyncio.get_running_loop()
        #: When it last answered, monotonic seconds: callers must not wait behind a check of what they prove.
        self._answered = 0.0
        numbers = next((output.datatype == "INT64" for output in manifest.signature.outputs), False)
        self._labels: list[Any] = [int(name) if numbers else name for name in manifest.classes]

    async def ask(self, inputs: Inputs, deadline: float | None) -> Answer:
        """Answer rows in one of the processes; asked once more when that one ends before it has answered."""
        try:
            return await self.ask_once(inputs, deadline)
        except Refused as refused:
            if refused.code != PROCESS_ENDED:
                raise
        # A prediction changes nothing, so asking again is safe.
        self.retries += 1
        return await self.ask_once(inputs, deadline)

    async def ask_once(self, inputs: Inputs, deadline: float | None) -> Answer:
        """Answer rows in one of the processes."""
        columns = dict(zip(self.intake.names, inputs, strict=True))
        process = await self._pool.take(deadline)
        call = process.call("predict", columns, self.serving.runner.call_seconds, {"block": self._block})
        call.add_done_callback(lambda _: self._pool.give(process))
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        # Waited for, not awaited: who gives up leaves the call to its end, and the process busy until then.
        await asyncio.wait((call,), timeout=seconds)
        if not call.done():
            raise too_late()
        try:
            header, found = call.result()
        except RunnerHung:
            seconds = self.serving.runner.call_seconds
            raise unavailable(f"{self.manifest.model} did not answer within {seconds:g} s") from None
        except RunnerGone:
            raise process_ended(f"the process of {self.manifest.model} ended while it answered this request") from None
        if "refused" in header:
            raise Refused(
                422,
                Failure.MODEL_ERROR,
                f"the model failed on these values: {str(header['refused'])[:300]}",
                hint="check the values against GET /v2/models/<endpoint>",
            )
        self._answered = time.monotonic()
        return self._answer(found, len(inputs[0]))

    def check(self) -> None:
        """Answer a neutral row, unless it has just answered a request; for any thread but the loop's."""
        if time.monotonic() - self._answered < _CHECK:
            return
        future = asyncio.run_coroutine_threadsafe(self._neutral(), self._loop)
        try:
            future.result(_CHECK + 1)
        except TimeoutError as error:
            raise NotServable(f"{self.manifest.model} did not answer a neutral row in {_CHECK:.0f} s") from error

    def close(self) -> None:
        """End its processes."""
        self._pool.close()

    async def gone(self) -> None:
        """After `close`: until the last of them has ended."""
        await self._pool.gone()

    def pids(self) -> list[int]:
        """Its processes that can be asked."""
        return self._pool.pids()

    async def prove(self) -> None:
        """Answer a neutral row, and learn what joining requests does and costs.

        Raises:
            NotServable: the model fails on it, or answers in another form than its package says.
        """
        begins = time.monotonic()
        await self._neutral()
        took = time.monotonic() - begins
        sizes = [size for size in _PROBED if took * size < _PATIENCE / 4]
        try:
            await self._measure(took)
            self.joins = bool(sizes) and self._may_join() and await self._find_joining(sizes)
        except Refused as refused:
            # It takes one row and not several: then nobody shares a call.
            self.joins = False
            if refused.status != 422:
                raise NotServable(f"{self.manifest.model} does not answer: {refused.message}") from refused

    async def _neutral(self) -> None:
        try:
            answer = await self.ask(neutral_rows(self.intake, 1), time.monotonic() + _CHECK)
        except Refused as refused:
            raise NotServable(f"{self.manifest.model} fails on a neutral row: {refused.message}") from refused
        if not answer.sound():
            raise NotServable(f"{self.manifest.model} answers a neutral row with something that is no number")

    def _may_join(self) -> bool:
        batching = self.serving.batching
        # Code of anybody's own may look from one row at another, which no probe can rule out.
        return batching.rows > 1 and (batching.asked or self.manifest.serialization != "python")

    async def _find_joining(self, sizes: list[int]) -> bool:
        if await self._answers_alike(sizes):
            return True
        if not self.intake.matrix or self.cost(_BLOCK) > 2 * self.cost(1) + _CHEAP:
            return False
        self._block = _BLOCK
        if await self._answers_alike([*sizes, _BLOCK + 1]):
            return True
        self._block = 1
        return False

    async def _answers_alike(self, sizes: list[int]) -> bool:
        rows = neutral_rows(self.intake, max(sizes), np.random.default_rng(7))
        alone = [await self.ask(cut(rows, row, row + 1), None) for row in range(max(sizes))]
        exactly = not self.serving.batching.asked
        for size in sizes:
            together = await self.ask(cut(rows, 0, size), None)
            if not all(_alike(together.cut(row, row + 1), alone[row], exactly) for row in range(size)):
                return False
        return True

    async def _measure(self, took: float) -> None:
        one = neutral_rows(self.intake, 1)
        single = took if took > _PATIENCE / 10 else min([await self._timed(one) for _ in range(5)])
        if single * _TIMED_ROWS > _PATIENCE:
            self.call_cost = self.row_cost = single / 2
            return
        many = neutral_rows(self.intake, _TIMED_ROWS, np.random.default_rng(8))
        block = min([await self._timed(many) for _ in range(2)])
        self.row_cost = max(0.0, (block - single) / (_TIMED_ROWS - 1))
        self.call_cost = max(0.0, single - self.row_cost)

    async def _timed(self, inputs: Inputs) -> float:
        start = time.perf_counter()
        await self.ask(inputs, None)
        return time.perf_counter() - start

    def _answer(self, found: dict[str, NDArray[Any]], rows: int) -> Answer:
        """A runner's arrays in the form that the package says."""
        task = self.manifest.task
        if task == "other":
            return Answer(np.empty((rows, 0)), None, self._others(found, rows))
        scores, picked = found.get("scores"), found.get("picked")
        width = len(self._labels) or 1
        if scores is None or scores.shape != (rows, width) or (picked is None) is (task == "classification"):
            raise self._strange(found)
        if picked is None:
            return Answer(scores, None)
        return Answer(scores, [self._labels[place] for place in picked.tolist()])

    def _others(self, found: dict[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
        others: dict[str, NDArray[Any]] = {}
        for output in self.manifest.signature.outputs:
            values = found.get(f"other:{output.name}")
            if output.datatype == "BYTES" and values is not None and _all_missing(values):
                values = np.full(values.shape, "", dtype=object)
            if values is None or (values.dtype.kind == "O") is not (output.datatype == "BYTES"):
                raise self._strange(found)
            if values.shape[1:] != output.shape and -1 not in output.shape:
                raise self._strange(found)
            dtype = _DTYPES.get(output.datatype)
            others[output.name] = values if dtype is None or values.dtype == dtype else values.astype(dtype)
        return others

    def _replaced(self) -> None:
        self.restarts += 1

    def _strange(self, found: dict[str, NDArray[Any]]) -> Refused:
        given = ", ".join(f"{name.removeprefix('other:')} {list(values.shape)}" for name, values in found.items())
        return Refused(
            422,
            Failure.INVALID_OUTPUT,
            f"the model answered these values with {given}, and not in the form its package says"[:300],
            hint="check the values against GET /v2/models/<endpoint>",
        )


_DTYPES: dict[str, Any] = {
    "FP64": np.float64,
    "FP32": np.float32,
    "INT64": np.int64,
    "INT32": np.int32,
    "BOOL": np.bool_,
}


async def load(manifest: Manifest, blobs: Blobs, runners: Runners, tell: Callable[[str], None]) -> PythonLane:
    """Start a package's runners, and prove that they answer.

    Args:
        manifest: of the package.
        blobs: where its files are.
        runners: what processes are made of.
        tell: is told what is being waited for; from another thread.

    Raises:
        NotServable: there is no environment for it, or it does not answer.
        NotFound, CorruptArtifact, UnsafeArtifact: its files are not there, or not what they should be.
        Unavailable: the environment cannot be built just now.
    """
    needed = wanted(manifest.requirements, python=manifest.python)
    interpreter = await asyncio.to_thread(runners.environments.ensure, needed, tell)
    folder = await asyncio.to_thread(runners.folders.of, manifest)
    baseline = await asyncio.to_thread(baseline_of, manifest, blobs)
    launch = Launch(
        interpreter=interpreter,
        folder=folder,
        work=runners.work,
        columns=manifest.signature.inputs,
        memory_bytes=manifest.serving.runner.memory_bytes,
    )
    pool = RunnerPool(launch, manifest.model, manifest.serving.runner, runners.starting)
    tell("starting its processes")
    process = await pool.open()
    try:
        intake = _intake(manifest, takes_array=bool(process.model["takes_array"]))
        lane = PythonLane(manifest, baseline, intake, pool)
        await lane.prove()
    except BaseException:
        pool.close()
        await pool.gone()
        raise
    return lane


def _all_missing(values: NDArray[Any]) -> bool:
    """Texts that are all missing look like numbers that are."""
    return values.dtype.kind == "f" and bool(np.isnan(values).all())


def _intake(manifest: Manifest, *, takes_array: bool) -> Intake:
    signature = manifest.signature
    dtype = matrix_type(signature.inputs, takes_array=takes_array)
    if dtype is None:
        return Intake.of_signature(signature)
    return Intake(signature, matrix=True, names=(MATRIX,), dtypes=(dtype,))


def _alike(one: Answer, other: Answer, exactly: bool) -> bool:
    if one.labels != other.labels or one.others.keys() != other.others.keys():
        return False
    pairs = [(one.scores, other.scores), *((values, other.others[name]) for name, values in one.others.items())]
    return all(_same(left, right, exactly) for left, right in pairs)


def _same(one: NDArray[Any], other: NDArray[Any], exactly: bool) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if exactly or one.dtype.kind != "f":
        return one.tolist() == other.tolist() if one.dtype.kind == "O" else one.tobytes() == other.tobytes()
    return np.allclose(one, other, rtol=_ROUNDING, atol=0.0)
