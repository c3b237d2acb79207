"""The kinds of long work, and how each is treated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from lockgate.base.digest import is_digest
from lockgate.base.errors import Invalid

#: Queues: work on models takes minutes and much memory, upkeep of the platform seconds.
MODELS, UPKEEP = "models", "upkeep"


class Form(StrEnum):
    """What a value that a job is asked with looks like."""

    TEXT = "a text"
    DAYS = "a whole number of days, at least 1"
    DIGESTS = "digests of data by their role, such as {holdout: sha256:…}"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobKind:
    """How jobs of one kind are treated."""

    name: str
    #: Workers can be told to serve some queues alone.
    queue: str = MODELS
    #: Higher goes first; what is equal goes by age.
    priority: int = 0
    #: Attempts before it is laid among the dead.
    max_attempts: int = 3
    #: Form of what its jobs are asked with. Raise it when older code could not do what newer code asks.
    form: int = 1
    #: The oldest form that this code still does.
    since: int = 1
    #: How many jobs that share a slot may run at once.
    at_once: int = 1
    #: What a schedule may ask it with, and in which form; None for kinds that are never scheduled.
    takes: Mapping[str, Form] | None = None
    #: Which of these must be there.
    needs: tuple[str, ...] = ()
    #: What it does, for people.
    sentence: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """Which work a worker takes."""

    #: Names of queues; empty means all.
    queues: tuple[str, ...] = ()
    #: Kind -> oldest and newest form that it can do; None means whatever comes.
    forms: Mapping[str, tuple[int, int]] | None = None


KINDS: Mapping[str, JobKind] = {
    kind.name: kind
    for kind in (
        JobKind(name="package", at_once=2, sentence="turns a submitted model into a package"),
        JobKind(name="gate", at_once=2, priority=10, sentence="judges a version for an environment"),
        JobKind(
            name="regate",
            priority=-10,
            takes={"endpoint": Form.TEXT, "data": Form.DIGESTS},
            needs=("endpoint",),
            sentence="judges what is live by today's policy, on its own data or on newer ones",
        ),
        JobKind(
            name="prune",
            queue=UPKEEP,
            takes={"keep_days": Form.DAYS, "keep_dead_days": Form.DAYS},
            sentence="forgets jobs that ended long ago, and what they printed",
        ),
        JobKind(name="verify-ledger", queue=UPKEEP, takes={}, sentence="proves the ledger from its first entry on"),
    )
}
#: What every worker of this code can do: kind -> oldest and newest form.
FORMS: Mapping[str, tuple[int, int]] = {name: (kind.since, kind.form) for name, kind in KINDS.items()}


def check_schedulable(name: str, payload: Mapping[str, Any]) -> None:
    """See whether the calendar may ask for such a job; raises Invalid."""
    kind = KINDS.get(name)
    known = ", ".join(sorted(kind.name for kind in KINDS.values() if kind.takes is not None))
    if kind is None:
        raise Invalid(f"there is no job of kind {name[:100]!r}", hint=f"kinds that can be scheduled: {known}")
    if kind.takes is None:
        raise Invalid(f"{name} is asked for by people, not by the calendar", hint=f"kinds that can be: {known}")
    takes = kind.takes
    wrong = [f"{field[:100]!r} is nothing it knows" for field in sorted(set(payload) - set(takes))]
    wrong += [f"{field} is missing" for field in kind.needs if field not in payload]
    wrong += [
        f"{field} has to be {form.value}"
        for field, form in takes.items()
        if field in payload and not _fits(payload[field], form)
    ]
    if wrong:
        told = f"it takes {', '.join(takes)}" if takes else "it takes nothing"
        raise Invalid(f"a job of kind {name} cannot be asked so: {'; '.join(wrong)}", hint=told)


def _fits(value: Any, form: Form) -> bool:
    match form:
        case Form.TEXT:
            return isinstance(value, str) and 0 < len(value) <= 200
        case Form.DAYS:
            return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 36_500
        case Form.DIGESTS:
            pairs = cast("dict[Any, Any]", value) if isinstance(value, dict) else {}
            return 0 < len(pairs) <= 20 and all(
                isinstance(role, str) and isinstance(digest, str) and is_digest(digest)
                for role, digest in pairs.items()
            )
