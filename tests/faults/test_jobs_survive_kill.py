"""Workers die and databases restart; every job is done, and what it does happens once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess

from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.errors import Unavailable
from lockgate.domain.registry.records import Model
from lockgate.edge_ports import JobState
from lockgate.ports import Job
from tests.contract.postgres import running_server
from tests.faults.doomed import LEASE, a_counter, end, jobs_of, now_why, nursery, work_for_ever

WORKERS = 4


class Crew:
    """Workers that are replaced when they are killed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._chance = random.Random(5)
        self._running = [self._start(number) for number in range(WORKERS)]
        self.deaths = 0

    def kill_one(self) -> None:
        number = self._chance.randrange(WORKERS)
        end(self._running[number])
        self._running[number] = self._start(number)
        self.deaths += 1

    def end(self) -> None:
        for process in self._running:
            end(process)

    def _start(self, number: int) -> ForkServerProcess:
        process = nursery().Process(target=work_for_ever, args=(self._url, f"w{number}"), daemon=True)
        process.start()
        return process


@contextmanager
def a_crew(url: str) -> Generator[Crew]:
    crew = Crew(url)
    try:
        yield crew
    finally:
        crew.end()


def want(database: Database, jobs: int) -> None:
    with SqlStore(database).begin(now_why("test")) as tx:
        tx.record("counter.made", tx.add(a_counter("effects")))
        for number in range(jobs):
            jobs_of(database).enqueue(tx, "count", {"number": number})


def left(database: Database) -> int:
    try:
        return sum(
            len(jobs_of(database).list(state=state, limit=10_000)) for state in (JobState.QUEUED, JobState.RUNNING)
        )
    except Unavailable:
        return -1


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not true() and time.monotonic() < give_up:
        time.sleep(0.01)


def check_all_done_once(database: Database, jobs: int) -> None:
    done = jobs_of(database).list(limit=10_000)
    assert [job.state for job in done] == [JobState.DONE] * jobs
    with SqlStore(database).reading() as tx:
        assert tx.get(Model, "effects").owner == str(jobs)
    assert SqlLedger(database).verify()[0] == jobs + 1


def test_every_job_takes_effect_once_in_a_storm_of_kills(database: Database, url: str) -> None:
    jobs, chance = 100, random.Random(3)
    want(database, jobs)
    give_up = time.monotonic() + 60
    with a_crew(url) as crew:
        while (before := left(database)) and time.monotonic() < give_up:
            # Some are done between two deaths, or a busy machine would only ever start workers.
            goal = max(before - 5, 0)
            wait_until(lambda goal=goal: left(database) <= goal, seconds=5)
            time.sleep(chance.uniform(0, 0.05))
            crew.kill_one()
    check_all_done_once(database, jobs)
    assert crew.deaths >= 5


def test_another_worker_takes_over_within_a_second_of_the_lease(database: Database) -> None:
    want(database, 1)
    jobs = jobs_of(database)
    dead = jobs.lease("dead", LEASE)
    began = time.monotonic()
    taken: list[Job] = []
    wait_until(lambda: bool(taken.extend(filter(None, [jobs.lease("alive", 60)])) or taken), seconds=10)
    took = time.monotonic() - began
    assert dead is not None
    assert [(job.id, job.fence) for job in taken] == [(dead.id, dead.fence + 1)]
    assert LEASE - 0.1 < took < LEASE + 1


def test_no_job_is_stuck_after_the_database_server_died() -> None:
    jobs = 100
    with running_server() as server:
        url = server.url(server.make())
        database = Database(url)
        migrate(database)
        want(database, jobs)
        with a_crew(url):
            for _ in range(3):
                time.sleep(0.3)
                server.stop(signal.SIGQUIT)
                assert left(database) == -1
                server.start()
            wait_until(lambda: left(database) == 0, seconds=60)
        check_all_done_once(database, jobs)
        database.close()
