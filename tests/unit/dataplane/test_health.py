from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.errors import NotServable
from lockgate.dataplane.health import Health
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from lockgate.dataplane.routing import LiveTable
from lockgate.domain.routing.table import Role
from tests.serving import keep_classifier, route, table, target


class Watched(Lane):
    """A real package whose checks do what the test says."""

    def __init__(self, real: Lane) -> None:
        super().__init__(real.manifest, real.baseline, real.intake)
        self._real = real
        self.fails = ""
        self.hangs: threading.Event | None = None
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.hangs is not None:
            self.hangs.wait(10)
        if self.fails == "unexpectedly":
            raise RuntimeError("what nobody thought of")
        if self.fails:
            raise NotServable(self.fails)
        self._real.check()

    def close(self) -> None:
        self._real.close()


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


class Stage:
    """Two endpoints with a package each, in time that the test moves."""

    def __init__(self, forest: Lane) -> None:
        self.now = 0.0
        self.health = Health(10.0, lambda: self.now)
        self.good, self.bad, self.warm = Watched(forest), Watched(forest), Watched(forest)
        loaded = {
            "sha256:" + digit * 64: lane for digit, lane in zip("012", (self.good, self.bad, self.warm), strict=True)
        }
        good, bad, warm = loaded
        self.table = LiveTable(
            table(
                1,
                route("good.prod", target(good, 1), target(warm, 2, Role.WARM, 0)),
                route("bad.prod", target(bad, 1)),
            ),
            loaded,
        )

    def ready(self, name: str) -> bool:
        return self.health.ready(self.table.endpoint(name))

    async def checked(self, *lanes: Watched) -> None:
        """Check lanes and wait until they were."""
        for lane in lanes:
            before = lane.checks
            self.health.begin(lane)
            while lane.checks == before:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(work(), 20)

    asyncio.run(whole())


def test_what_was_just_loaded_has_proved_itself(forest: Lane) -> None:
    stage = Stage(forest)
    assert stage.ready("good.prod")
    assert stage.health.any_ready(stage.table)


@pytest.mark.parametrize("fails", ["the runner is gone", "unexpectedly"])
def test_a_failed_check_takes_its_endpoint_out_and_no_other(forest: Lane, fails: str) -> None:
    stage = Stage(forest)

    async def work() -> None:
        stage.bad.fails = fails
        await stage.checked(stage.good, stage.bad)
        assert not stage.ready("bad.prod")
        assert stage.ready("good.prod")
        assert stage.health.any_ready(stage.table)
        stage.bad.fails = ""
        await stage.checked(stage.bad)
        assert stage.ready("bad.prod")

    run(work)


def test_a_worker_none_of_whose_models_answers_is_not_ready(forest: Lane) -> None:
    stage = Stage(forest)

    async def work() -> None:
        stage.good.fails = stage.bad.fails = "gone"
        await stage.checked(stage.good, stage.bad)
        assert not stage.health.any_ready(stage.table)
        assert stage.health.any_ready(LiveTable(table(2), {}))

    run(work)


def test_a_version_that_gets_no_requests_takes_nothing_out(forest: Lane) -> None:
    stage = Stage(forest)

    async def work() -> None:
        stage.warm.fails = "gone"
        await stage.checked(stage.warm)
        assert stage.health.trouble(stage.warm) == "gone"
        assert stage.ready("good.prod")

    run(work)


def test_a_check_that_hangs_is_not_begun_again_and_is_no_proof(forest: Lane) -> None:
    stage = Stage(forest)

    async def work() -> None:
        stage.bad.hangs = threading.Event()
        for _ in range(5):
            stage.health.begin(stage.bad)
        await stage.checked(stage.good)
        assert stage.bad.checks == 1
        stage.now = 25.0
        assert stage.ready("bad.prod")
        stage.now = 31.0
        await stage.checked(stage.good)
        assert not stage.ready("bad.prod")
        assert "31 s old" in stage.health.trouble(stage.bad)
        assert stage.ready("good.prod")
        stage.bad.hangs.set()
        await asyncio.sleep(0.05)
        assert stage.ready("bad.prod")

    run(work)


def test_everything_that_is_loaded_is_checked_again_and_again(forest: Lane) -> None:
    stage = Stage(forest)

    async def work() -> None:
        health = Health(0.01)
        task = asyncio.create_task(health.run(lambda: [stage.good, stage.bad, stage.good]))
        while min(stage.good.checks, stage.bad.checks) < 3:
            await asyncio.sleep(0.005)
        task.cancel()
        # What several endpoints share is checked once.
        assert abs(stage.good.checks - stage.bad.checks) <= 2

    run(work)
