"""Add a schedule, stop it for a while, run it now, remove it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from lockgate.base.errors import Exists, Invalid, NotAllowedNow, NotFound
from lockgate.domain.jobs.calendar import check_calendar
from lockgate.domain.jobs.kinds import check_schedulable
from lockgate.domain.jobs.schedules import CatchUp, Schedule, next_tick
from lockgate.ports import Jobs, Store, Transaction, Why

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: Schedules that a fresh installation begins with: what every one of them needs.
FIRST: Mapping[str, tuple[str, str]] = {
    "prune": ("prune", "15 3 * * *"),
    "verify-ledger": ("verify-ledger", "0 4 * * *"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleWish:
    """What is asked for."""

    name: str
    kind: str
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    cron: str
    zone: str = "UTC"
    catch_up: CatchUp = CatchUp.ONCE


def add_schedule(store: Store, wish: ScheduleWish, why: Why) -> Schedule:
    """Have jobs asked for by the calendar from now on.

    Raises:
        Invalid: the name, the kind, what it is asked with, the cron expression or the time zone.
        Exists: there is a schedule of that name.
    """
    if not _NAME.fullmatch(wish.name):
        raise Invalid(
            f"{wish.name[:100]!r} is no name for a schedule", hint="small letters, digits and dashes, at most 63"
        )
    check_schedulable(wish.kind, wish.payload)
    check_calendar(wish.cron, wish.zone)
    with store.begin(why) as tx:
        return _add(tx, wish, why)


def _add(tx: Transaction, wish: ScheduleWish, why: Why) -> Schedule:
    fresh = Schedule(
        id=wish.name,
        kind=wish.kind,
        payload=wish.payload,
        cron=" ".join(wish.cron.split()),
        zone=wish.zone,
        catch_up=wish.catch_up,
        next_at=next_tick(wish.cron, wish.zone, why.at),
        created_at=why.at,
        created_by=why.actor,
        reason=why.reason,
    )
    known = tx.find(Schedule, id=wish.name, limit=1)
    if known and not known[0].removed:
        raise Exists(f"there is a schedule {wish.name!r} already", hint="remove it first, or take another name")
    if known:
        # Its ticks so far stay dealt with, however the clock stands.
        never_back = max(fresh.next_at, next_tick(wish.cron, wish.zone, known[0].last_tick or why.at))
        kept = tx.save(replace(fresh, revision=known[0].revision, next_at=never_back))
        tx.record("schedule.added", kept, before=known[0], after=kept)
    else:
        kept = tx.add(fresh)
        tx.record("schedule.added", kept, after=kept)
    return kept


def add_first_schedules(store: Store, why: Why) -> None:
    """What a fresh installation begins with."""
    for name, (kind, cron) in FIRST.items():
        add_schedule(store, ScheduleWish(name=name, kind=kind, cron=cron), why)


def pause_schedule(store: Store, name: str, why: Why) -> Schedule:
    """Ask for no jobs until it goes on. Raises NotFound; NotAllowedNow when it is paused."""
    with store.begin(why) as tx:
        before = find_schedule(tx, name)
        if before.paused:
            raise NotAllowedNow(f"{name} is paused already", hint=f"lockgate schedules resume {name}")
        return _save(tx, "schedule.paused", before, replace(before, paused=True))


def resume_schedule(store: Store, name: str, why: Why) -> Schedule:
    """Let it go on with its next tick; those of the pause are passed over. Raises NotFound, NotAllowedNow."""
    with store.begin(why) as tx:
        before = find_schedule(tx, name)
        if not before.paused:
            raise NotAllowedNow(f"{name} is not paused", hint="its next tick is in `lockgate schedules list`")
        # Not before what was dealt with, should the clock have been put back.
        after = max(why.at, before.next_at - timedelta(microseconds=1))
        return _save(
            tx,
            "schedule.resumed",
            before,
            replace(before, paused=False, next_at=next_tick(before.cron, before.zone, after)),
        )


def remove_schedule(store: Store, name: str, why: Why) -> Schedule:
    """Ask for no further jobs; those that were asked for go on. Raises NotFound."""
    with store.begin(why) as tx:
        before = find_schedule(tx, name)
        return _save(tx, "schedule.removed", before, replace(before, removed=True))


def run_schedule(store: Store, jobs: Jobs, name: str, why: Why) -> str:
    """Ask for its job now, beside its ticks, also while it is paused; gives the job's id. Raises NotFound."""
    with store.begin(why) as tx:
        known = find_schedule(tx, name)
        job = ask(tx, jobs, known)
        tx.record("schedule.run", known, before={"last_job": known.last_job}, after={"id": known.id, "job": job})
        return job


def ask(tx: Transaction, jobs: Jobs, schedule: Schedule, *, key: str = "") -> str:
    """Want the schedule's job. Two of one schedule never run beside each other."""
    return jobs.enqueue(tx, schedule.kind, schedule.payload, key=key, slot=f"schedule/{schedule.id}")


def find_schedule(tx: Transaction, name: str) -> Schedule:
    """A schedule that was not removed; raises NotFound."""
    known = tx.find(Schedule, id=name, removed=False, limit=1)
    if not known:
        raise NotFound(f"there is no schedule {name[:100]!r}", hint="lockgate schedules list shows them")
    return known[0]


def _save(tx: Transaction, action: str, before: Schedule, after: Schedule) -> Schedule:
    kept = tx.save(after)
    tx.record(action, kept, before=before, after=kept)
    return kept
