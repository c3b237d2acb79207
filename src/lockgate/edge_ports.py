"""Floor 2: what the control plane's edge and loops need from the world, beside what workflows need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from lockgate.domain.access.records import Caller
from lockgate.ports import Transaction


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # a dead letter: no attempt is left
    CANCELLED = "cancelled"
    PARKED = "parked"  # no worker knew its kind or form; one that does takes it


#: States that nothing follows by itself.
OVER = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """A job as people see it."""

    id: str
    kind: str
    payload: dict[str, Any]
    state: JobState
    attempts: int
    max_attempts: int
    #: Where it is, in a few words, and the end of what it wrote.
    progress: str
    log: str
    result: dict[str, Any] | None
    #: What the last failed attempt said.
    error: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    queue: str
    priority: int
    #: Form of what it is asked with, and what it shares with jobs that do not run beside it.
    form: int
    slot: str
    #: Who does it, and when it is another's: when its wait is over, or the lease on it.
    worker: str
    due_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCount:
    """How one queue does."""

    queue: str
    #: Jobs by state.
    waiting: int
    running: int
    parked: int
    dead: int
    #: When the oldest of those that could begin came due; None where none waits.
    oldest_due_at: datetime | None


class JobBoard(Protocol):
    """Knows how to show jobs, to stop one, and to give one another chance."""

    def get(self, id: str) -> JobView:
        """One job; raises NotFound."""
        ...

    def list(
        self,
        *,
        state: JobState | None = None,
        kind: str | None = None,
        queue: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[JobView]:
        """Newest first, behind the job of id ``after``."""
        ...

    def cancel(self, tx: Transaction, id: str) -> JobView:
        """Stop it: its worker's writes are refused from now on. Raises NotAllowedNow when it is over."""
        ...

    def retry(self, tx: Transaction, id: str) -> JobView:
        """Let one that failed or was cancelled begin anew. Raises NotAllowedNow when it is anything else."""
        ...

    def queues(self) -> Sequence[QueueCount]:
        """How each queue does, by name."""
        ...

    def prune(self, tx: Transaction, ended_before: datetime, died_before: datetime) -> int:
        """Forget jobs that ended before the one time, and dead letters from before the other; gives how many."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Leader:
    """Which control plane does one of the things that only one may do."""

    #: What it does: rollouts, watch, outbox, schedules.
    concern: str
    #: Host and port of the control plane.
    holder: str
    #: Grows with every change of leader; what is written with an older one is refused.
    token: int
    since: datetime
    #: False when it was not heard of for too long, and nobody has taken its place yet.
    leads: bool


class Leadership(Protocol):
    """Knows what this control plane leads."""

    def beat(self) -> None:
        """Keep what is led, and take what is free."""
        ...

    def leads(self, concern: str) -> bool:
        """Whether this control plane leads it, as far as it can know without asking."""
        ...

    def release(self) -> None:
        """Let go of all that is led."""
        ...

    def shown(self) -> Sequence[Leader]:
        """Who leads what, by concern."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The last that was heard of a gateway."""

    worker: str
    #: Changes with each start of the worker.
    boot: str
    #: The route table it answers by, but for the endpoints in ``held``.
    generation: int
    pid: int
    #: Package digest -> why it could not be loaded.
    problems: dict[str, str]
    #: Predictions logged and dropped since its start, and what is wrong with the log, or "".
    logged: int
    dropped: int
    trouble: str
    seen_at: datetime
    #: Endpoints of which a live version cannot be loaded there: name -> the generation whose route goes on answering,
    #: or -1 for none.
    held: dict[str, int] = field(default_factory=dict[str, int])


class Gateways(Protocol):
    """Knows which gateways are alive, and what they serve."""

    def note(self, heard: Heartbeat) -> None:
        """Write down what one told of itself."""
        ...

    def alive(self, since: datetime) -> list[Heartbeat]:
        """Those heard of at ``since`` or later, by name."""
        ...


class Identities(Protocol):
    """Knows who stands behind a token."""

    def caller(self, token_text: str) -> Caller:
        """Who asks with this token; raises Unauthenticated."""
        ...

    def holder(self, token_id: str) -> Caller:
        """Who asks with the token of this id, as a session remembers it; raises Unauthenticated."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was answered to a request that named an idempotency key."""

    status: int
    body: bytes


class IdempotencyKeys(Protocol):
    """Knows which requests were made before, so that asking again does not do it again."""

    def reserve(self, caller: str, key: str, request: str, at: datetime) -> Answer | None:
        """Take the key for a request of this digest; None when it is new and the caller goes ahead.
        Gives the kept answer when the same request was answered; raises Conflict while it is under way,
        Invalid when the key was used for another request."""
        ...

    def complete(self, caller: str, key: str, answer: Answer) -> None:
        """Keep the answer."""
        ...

    def release(self, caller: str, key: str) -> None:
        """Give the key back: nothing was done."""
        ...


class RegistryVerb(StrEnum):
    """What a client of the MLflow registry can do that touches what is live."""

    SET_ALIAS = "set_alias"
    DELETE_ALIAS = "delete_alias"
    SET_STAGE = "set_stage"
    RENAME_MODEL = "rename_model"
    DELETE_MODEL = "delete_model"
    DELETE_VERSION = "delete_version"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryChange:
    """One change a client asks of the MLflow registry."""

    verb: RegistryVerb
    #: MLflow's name of the model.
    name: str
    #: MLflow's version number, where the change is about one.
    version: str | None = None
    #: The alias, the stage or the new name.
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Yes, or no with the reason for the person who asked."""

    allowed: bool
    #: An error code of `lockgate.base.errors`.
    code: str = ""
    sentence: str = ""
    hint: str = ""


class RegistryGuard(Protocol):
    """Knows whether the platform lets a change of the MLflow registry happen."""

    def judge(self, change: RegistryChange, caller: Caller) -> Judgement:
        """Whether it may happen now."""
        ...
