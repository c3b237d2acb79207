"""Real runner processes, and everything that may happen to them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.errors import NotServable
from lockgate.dataplane.python_lane import PythonLane, Runners, load
from lockgate.dataplane.refusal import Refused
from lockgate.domain.registry.manifest import Column, Kind, Output, Signature
from lockgate.domain.registry.serving import Batching, RunnerLimits, Serving
from tests.pymodels import COLUMNS, EXIT, HANG, LEAK, POISON, SLOW, custom, estimator, manifest_of, moody

pytestmark = pytest.mark.process

Scene = Callable[[PythonLane], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """``play(folder, scene)``: load the folder as a package, and run the scene on its lane."""

    def played(folder: Path, scene: Scene, **more: Any) -> None:
        asyncio.run(_played(tmp_path, folder, scene, **more))

    return played


async def _played(home: Path, folder: Path, scene: Scene, **more: Any) -> None:
    blobs = DirectoryBlobs(home / "blobs")
    async with _lane(home, blobs, folder, **more) as lane:
        await scene(lane)


@asynccontextmanager
async def _lane(home: Path, blobs: DirectoryBlobs, folder: Path, **more: Any) -> AsyncGenerator[PythonLane]:
    lane = await load(manifest_of(folder, blobs, **more), blobs, Runners.at(home, "0", blobs), lambda step: None)
    pids = lane.pids()
    try:
        yield lane
    finally:
        pids += lane.pids()
        lane.close()
        await lane.gone()
        assert not any(map(_alive, pids))


def _alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def _replaced(lane: PythonLane, pid: int) -> bool:
    return len(lane.pids()) == 2 and pid not in lane.pids()


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rows(*values: tuple[float, float]) -> tuple[Any, ...]:
    return (np.array(values, dtype=np.float64),)


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


async def refusal(answer: Awaitable[Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        await answer
    return caught.value


def limits(**more: Any) -> Serving:
    return Serving(runner=RunnerLimits(**more))


def test_a_model_answers_and_its_process_knows_nothing_of_ours(
    tmp_path: Path, play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_GATEWAY_TOKEN_FILE", "/secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def scene(lane: PythonLane) -> None:
        answer = await lane.ask(rows((1.0, 2.0), (3.0, 4.0)), soon())
        assert answer.scores.tolist() == [[3.0], [7.0]]
        assert answer.labels is None
        assert lane.call_cost > 0
        await asyncio.to_thread(lane.check)
        process = Path(f"/proc/{lane.pids()[0]}")
        environ = process.joinpath("environ").read_bytes()
        assert b"LOCKGATE" not in environ
        assert b"SECRET" not in environ
        assert list(process.joinpath("cwd").resolve().iterdir()) == []
        assert os.getsid(lane.pids()[0]) == lane.pids()[0]
        assert "Max core file size        0" in process.joinpath("limits").read_text()
        folder = next((tmp_path / "runners" / "models").iterdir())
        assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()} == {"0o444"}

    play(moody(tmp_path / "m"), scene)
    assert list((tmp_path / "runners" / "work" / "0").iterdir()) == []


def test_values_that_the_model_cannot_take_are_refused_and_the_process_goes_on(
    tmp_path: Path, play: Callable[..., None]
) -> None:
    async def scene(lane: PythonLane) -> None:
        before = lane.pids()
        found = await refusal(lane.ask(rows((POISON, 0.0)), soon()))
        assert (found.status, found.code) == (422, "model_error")
        assert "ValueError: a may not be minus one" in found.message
        assert (await lane.ask(rows((1.0, 1.0)), soon())).scores.tolist() == [[2.0]]
        assert lane.pids() == before
        assert lane.restarts == 0

    play(moody(tmp_path / "m"), scene)


def test_a_request_that_ends_the_process_is_asked_once_more_and_then_refused(
    tmp_path: Path, play: Callable[..., None]
) -> None:
    async def scene(lane: PythonLane) -> None:
        found = await refusal(lane.ask(rows((EXIT, 0.0)), soon()))
        assert (found.status, found.code, lane.retries) == (503, "process_ended", 1)
        assert (await lane.ask(rows((1.0, 1.0)), soon())).scores.tolist() == [[2.0]]
        assert lane.restarts == 2

    play(moody(tmp_path / "m"), scene)


def test_a_hung_process_is_ejected_while_the_others_go_on(tmp_path: Path, play: Callable[..., None]) -> None:
    async def scene(lane: PythonLane) -> None:
        begins = time.monotonic()
        hung = asyncio.ensure_future(refusal(lane.ask(rows((HANG, 0.0)), soon())))
        impatient = asyncio.ensure_future(refusal(lane.ask(rows((SLOW, 0.0)), soon(0.1))))
        assert (await impatient).status == 504
        for _ in range(20):
            assert (await lane.ask(rows((1.0, 1.0)), soon())).scores.tolist() == [[2.0]]
        found = await hung
        assert found.status == 503
        assert "within 1 s" in found.message
        assert time.monotonic() - begins < 3.0
        assert await _until(lambda: len(lane.pids()) == 2)
        assert lane.restarts == 1

    play(moody(tmp_path / "m"), scene, serving=limits(processes=2, call_seconds=1.0))


def test_a_stopped_process_is_found_busy_or_idle(tmp_path: Path, play: Callable[..., None]) -> None:
    async def scene(lane: PythonLane) -> None:
        slow = asyncio.ensure_future(lane.ask(rows((SLOW, 1.0)), soon()))
        await asyncio.sleep(0.05)
        os.kill(lane.pids()[0], signal.SIGSTOP)
        # Asked once more on the process that took its place.
        assert (await slow).scores.tolist() == [[SLOW + 1.0]]
        idle = lane.pids()
        os.kill(idle[0], signal.SIGSTOP)
        assert await _until(lambda: len(lane.pids()) == 1 and lane.pids() != idle)

    play(moody(tmp_path / "m"), scene)


def test_killing_a_process_under_load_costs_no_caller_an_answer(tmp_path: Path, play: Callable[..., None]) -> None:
    async def scene(lane: PythonLane) -> None:
        stop = asyncio.Event()
        answered = 0

        async def caller(number: float) -> None:
            nonlocal answered
            while not stop.is_set():
                assert (await lane.ask(rows((number, 1.0)), soon())).scores.tolist() == [[number + 1.0]]
                answered += 1

        callers = [asyncio.ensure_future(caller(float(number))) for number in range(8)]
        await asyncio.sleep(0.1)
        for _ in range(2):
            killed = lane.pids()[0]
            os.kill(killed, signal.SIGKILL)
            assert await _until(partial(_replaced, lane, killed))
        stop.set()
        await asyncio.gather(*callers)
        assert answered > 50

    play(moody(tmp_path / "m"), scene, serving=limits(processes=2))


def test_a_process_that_grows_is_replaced_before_its_limit_and_nobody_notices(
    tmp_path: Path, play: Callable[..., None]
) -> None:
    limit = 400 << 20

    async def scene(lane: PythonLane) -> None:
        first = lane.pids()[0]
        while _memory(first) < 0.92 * limit:
            assert (await lane.ask(rows((LEAK, 0.0)), soon())).scores.tolist() == [[LEAK]]
        end = soon()
        while lane.pids()[0] == first and time.monotonic() < end:
            assert (await lane.ask(rows((1.0, 1.0)), soon())).scores.tolist() == [[2.0]]
            await asyncio.sleep(0.01)
        assert await _until(lambda: not _alive(first))
        assert (lane.restarts, lane.retries) == (1, 0)

    play(moody(tmp_path / "m"), scene, serving=limits(memory_bytes=limit))


def test_requests_share_a_call_of_strangers_code_only_where_that_is_asked_for(
    tmp_path: Path, play: Callable[..., None]
) -> None:
    async def alone(lane: PythonLane) -> None:
        assert not lane.joins

    async def shared(lane: PythonLane) -> None:
        assert lane.joins

    folder = moody(tmp_path / "m")
    play(folder, alone)
    play(folder, shared, serving=Serving(batching=Batching(rows=64, asked=True)))
    # This one looks from one row at the others: whatever is asked for, nobody may share a call.
    mixing = moody(tmp_path / "n", result="rows[:, 0] - rows.mean()")
    play(mixing, alone, serving=Serving(batching=Batching(rows=64, asked=True)))


def test_a_linear_model_answers_to_the_bit_in_whatever_company(tmp_path: Path, play: Callable[..., None]) -> None:
    chance = np.random.default_rng(0)
    names = tuple(f"x{at}" for at in range(7))
    training = pd.DataFrame(chance.normal(size=(200, 7)), columns=list(names))
    model = LogisticRegression().fit(training, training.sum(axis=1) > 0)
    signature = Signature(
        inputs=tuple(Column(name=name, kind=Kind.NUMBER, datatype="FP64", low=-3.0, high=3.0) for name in names),
        outputs=(Output(name="label", datatype="INT64"), Output(name="probabilities", datatype="FP64", shape=(2,))),
    )
    asked = chance.normal(size=(150, 7))

    async def scene(lane: PythonLane) -> None:
        assert lane.joins
        together = await lane.ask((asked,), soon())
        for row in range(150):
            alone = await lane.ask((asked[row : row + 1],), soon())
            assert alone.scores.tobytes() == together.scores[row : row + 1].tobytes()
            assert alone.labels == together.cut(row, row + 1).labels
        assert np.allclose(together.scores, model.predict_proba(pd.DataFrame(asked, columns=list(names))), rtol=1e-12)

    folder = estimator(tmp_path / "m", model, names)
    classes: dict[str, Any] = {"task": "classification", "classes": ("0", "1"), "serialization": "pickle"}
    play(folder, scene, signature=signature, **classes)


def test_several_outputs_and_texts_keep_their_names(tmp_path: Path, play: Callable[..., None]) -> None:
    outputs = (
        Output(name="risk", datatype="FP64"),
        Output(name="words", datatype="BYTES"),
        Output(name="parts", datatype="FP64", shape=(2,)),
    )

    async def scene(lane: PythonLane) -> None:
        answer = await lane.ask(rows((1.0, 2.0), (3.0, 4.0)), soon())
        assert answer.scores.shape == (2, 0)
        assert answer.others["risk"].tolist() == [2.0, 6.0]
        assert answer.others["words"].tolist() == ["", "déjà vu 3.0"]
        assert answer.others["parts"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
        strange = await refusal(lane.ask(rows((9.0, 0.0)), soon()))
        assert (strange.status, strange.code) == (422, "invalid_output")

    code = (
        "return {'odd': [1]} if rows['a'][0] == 9 else {'risk': rows['a'] * 2,"
        " 'words': [None if a < 2 else f'd\\u00e9j\\u00e0 vu {a}' for a in rows['a']], 'parts': rows.to_numpy()}"
    )
    signature = Signature(inputs=COLUMNS, outputs=outputs)
    play(custom(tmp_path / "m", code), scene, task="other", signature=signature)


def test_a_model_that_cannot_be_opened_says_why(tmp_path: Path, play: Callable[..., None]) -> None:
    folder = moody(tmp_path / "m")
    (folder / "code" / "moody.py").write_text("import no_such_module")

    async def never(lane: PythonLane) -> None:
        raise AssertionError

    with pytest.raises(NotServable, match="No module named 'no_such_module'"):
        play(folder, never)
    (folder / "code" / "moody.py").write_text("import os\nos._exit(3)")
    with pytest.raises(NotServable, match="ended before it was open"):
        play(folder, never)


async def _until(check: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        await asyncio.sleep(0.02)
    return False
