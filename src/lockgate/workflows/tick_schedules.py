"""Ask for the jobs whose time has come."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.clock import Clock
from lockgate.base.errors import Conflict
from lockgate.domain.jobs.schedules import Schedule, due
from lockgate.ports import Jobs, Store, Why
from lockgate.workflows.handle_schedule import ask


def tick_schedules(store: Store, jobs: Jobs, clock: Clock) -> int:
    """Look at every schedule once; gives how many jobs were asked for.

    The jobs, and the tick behind them, are one transaction: none is asked for twice, and none is forgotten.
    """
    now = clock.now()
    with store.reading() as tx:
        ripe = tx.find(Schedule, removed=False, paused=False, order="next_at", until=now)
    return sum(_tick(store, jobs, clock, schedule) for schedule in ripe)


def _tick(store: Store, jobs: Jobs, clock: Clock, schedule: Schedule) -> int:
    now = clock.now()
    found = due(schedule, now)
    if found is None:
        return 0
    told = f"{schedule.cron} in {schedule.zone}"
    if found.passed_over:
        told += f"; {found.passed_over} missed ticks are passed over ({schedule.catch_up.value})"
    try:
        with store.begin(Why(actor="lockgate", reason=told, at=now)) as tx:
            last = ""
            for tick in found.ticks:
                last = ask(tx, jobs, schedule, key=f"schedule/{schedule.id}/{tick.isoformat()}")
            after = tx.save(
                replace(
                    schedule,
                    next_at=found.next_at,
                    last_tick=found.ticks[-1] if found.ticks else schedule.last_tick,
                    last_job=last or schedule.last_job,
                    passed_over=schedule.passed_over + found.passed_over,
                )
            )
            tx.record("schedule.ticked", after, before=schedule, after=after)
    except Conflict:
        # Somebody changed it meanwhile: the next look sees what it is now.
        return 0
    return len(found.ticks)
