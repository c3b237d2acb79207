"""Floor 2: what the platform needs from the world, each in a handful of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lockgate.domain.access.records import Action, Caller
from lockgate.domain.audit.ledger import Entry
from lockgate.domain.gates.config import ModelConfig, Policy
from lockgate.domain.gates.desired import Desired
from lockgate.domain.gates.policies import PolicyText
from lockgate.domain.gates.records import GateResult
from lockgate.domain.jobs.kinds import Offer
from lockgate.domain.monitoring.logged import LoggedRows, LoggedSegment
from lockgate.domain.registry.manifest import Manifest

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class Why:
    """Who changes something, and the reason they give; it goes into the ledger with the change."""

    actor: str
    reason: str
    at: datetime
    #: Ids that tie the entry to others.
    links: tuple[tuple[str, str], ...] = ()
    #: The person behind the actor, when that is a machine.
    behind: str = ""


class Transaction(Protocol):
    """Knows how to read and change records, all or nothing."""

    def get(self, kind: type[R], id: str) -> R:
        """The record of that id; raises NotFound."""
        ...

    def find(
        self,
        kind: type[R],
        /,
        *,
        order: str = "id",
        limit: int = 1000,
        after: str | None = None,
        since: Any = None,
        until: Any = None,
        **where: Any,
    ) -> list[R]:
        """Records whose indexed fields equal ``where`` (a tuple or list means one of), by ``order``
        (``-field`` for newest first), with ``since <= field <= until`` of that field, behind the record of
        id ``after``."""
        ...

    def add(self, record: R) -> R:
        """Insert; raises Exists. Gives the record back with revision 1."""
        ...

    def save(self, record: R) -> R:
        """Replace the row whose revision is the record's own; raises Conflict when somebody was faster.
        Gives the record back with the next revision."""
        ...

    def record(self, action: str, subject: Any, before: Any = None, after: Any = None) -> None:
        """Append a ledger entry with the transaction's who and why, and a message that tells of it. A transaction
        that changed records and made no entry is refused when it commits."""
        ...

    def emit(self, topic: str, payload: dict[str, Any]) -> None:
        """Put a message into the outbox; it is delivered at least once after the commit."""
        ...


class Store(Protocol):
    """Knows how to keep records."""

    def begin(self, why: Why) -> AbstractContextManager[Transaction]:
        """A transaction that commits at the end of the block, and leaves no trace when it raises."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """A consistent view; changing anything in it raises."""
        ...


class Blobs(Protocol):
    """Knows how to keep bytes by their content address."""

    def put(self, data: bytes) -> str:
        """Keep some bytes; gives their digest. Putting the same twice is one blob."""
        ...

    def put_file(self, path: Path) -> str:
        """Keep a file's bytes without reading them all into memory."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes; raises NotFound, or CorruptArtifact when they no longer match."""
        ...

    def path(self, digest: str) -> Path:
        """A local, read-only file with the bytes, checked; raises as `get`."""
        ...

    def has(self, digest: str) -> bool:
        """Whether it is there."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Long work under a lease."""

    id: str
    kind: str
    #: JSON-able arguments.
    payload: dict[str, Any]
    attempt: int
    #: Grows with every lease; a write with an older one is refused.
    fence: int
    requested_by: str


class Jobs(Protocol):
    """Knows how to hand out long work, each piece to one worker at a time."""

    def lease(self, worker: str, seconds: float, offer: Offer = ..., /) -> Job | None:
        """Take the next job of the offer that is due, or None; one that it does not know is parked with the reason."""
        ...

    def extend(self, job: Job, seconds: float, *, progress: str = "") -> None:
        """Keep the lease; raises Conflict when another worker has it by now."""
        ...

    def write(self, job: Job, text: str) -> None:
        """Append to what people see of its log, its last lines also after its end. Raises Conflict as `extend`."""
        ...

    def finish(self, job: Job, tx: Transaction, result: dict[str, Any]) -> None:
        """Close the job in the transaction that holds its effect; raises Conflict as `extend`."""
        ...

    def fail(self, job: Job, error: str, *, retry: bool) -> None:
        """Give it back for another attempt, or lay it among the dead letters."""
        ...

    def enqueue(self, tx: Transaction, kind: str, payload: dict[str, Any], *, key: str = "", slot: str = "") -> str:
        """Add work in the transaction that wants it; an equal ``key`` adds it once. Gives the job's id.

        Of jobs that share a ``slot`` only so many run at once as their kind allows."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileRow:
    """A delta of counts from one gateway: of one minute, endpoint, version and role."""

    minute: int
    endpoint: str
    version: str
    role: str
    #: `lockgate.domain.monitoring.profile.Profile`, encoded.
    data: bytes


class Profiles(Protocol):
    """Knows how to add up counts and give them back by time."""

    def add(self, source: str, seq: int, rows: Sequence[ProfileRow]) -> bool:
        """Add deltas; False when this source's ``seq`` was added before, and nothing changes then."""
        ...

    def window(self, endpoint: str, start: int, end: int, version: str | None = None) -> list[ProfileRow]:
        """Summed rows of the minutes start <= minute < end, by minute."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """The truth about one prediction."""

    prediction_id: str
    endpoint: str
    value: str
    #: Filled when the prediction was found.
    version: str | None = None
    minute: int | None = None
    score: float | None = None
    predicted: str | None = None
    received_at: datetime


class Labels(Protocol):
    """Knows how to keep labels and which prediction each belongs to."""

    def add(self, tx: Transaction, labels: Sequence[Label]) -> int:
        """Keep or replace labels; gives how many are new or changed."""
        ...

    def waiting(self, limit: int = 10_000) -> list[Label]:
        """Labels whose prediction has not been found yet, oldest first."""
        ...

    def match(self, labels: Sequence[Label], /) -> None:
        """Write down the predictions that were found."""
        ...

    def joined(
        self, endpoint: str, start: int, end: int, version: str | None = None, *, newest: int | None = None
    ) -> list[Label]:
        """Labels with their predictions, of predictions made in the minutes start <= minute < end, oldest first;
        at most so many of the ``newest`` predictions, all without."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What was answered to one logged row."""

    prediction_id: str
    endpoint: str
    version: str
    generation: int
    role: str
    at: datetime
    score: float | None
    predicted: str | None


class PredictionTable(Protocol):
    """Knows how to keep logged predictions for good."""

    def append(self, source: str, seq: int, rows: Sequence[LoggedRows]) -> int:
        """Add the rows of one sealed segment exactly once, also when called again after a crash."""
        ...

    def find(self, ids: Sequence[str]) -> list[Prediction]:
        """Predictions of these ids that have been appended; never a shadow's."""
        ...

    def tidy(self) -> None:
        """Merge small files, so that reading stays quick however long it runs."""
        ...


class SegmentStore(Protocol):
    """Knows the gateways' sealed prediction-log segments."""

    def sealed(self) -> list[tuple[str, int, Path]]:
        """Source, sequence and place of each segment that no gateway writes any more."""
        ...

    def read(self, path: Path) -> LoggedSegment:
        """All rows of it that can be read."""
        ...

    def remove(self, path: Path) -> None:
        """Drop a segment whose rows are kept elsewhere."""
        ...

    def set_aside(self, path: Path) -> Path:
        """Keep a segment that is damaged where `sealed` does not find it, for a person to look at."""
        ...


class ModelSource(Protocol):
    """Knows how to read models from where they were logged."""

    def fetch(self, source: dict[str, str], into: Path) -> dict[str, Any]:
        """Copy the model's files into a folder, refusing links and paths that leave it; gives run id,
        parameters, metrics and registered name and version as far as known."""
        ...

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version, past our own gate."""
        ...


class Authorizer(Protocol):
    """Knows who may do what where."""

    def allows(self, caller: Caller, action: Action, *, environment: str = "", requested_by: str = "") -> bool:
        """Whether policy permits it; an error in deciding is a no."""
        ...

    def might(self, caller: Caller, action: Action) -> bool:
        """Whether it could be allowed somewhere, for an early no before the environment is known."""
        ...


class Ledger(Protocol):
    """Knows how to read the ledger back and prove it."""

    def entries(
        self,
        *,
        after: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
        subject: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> list[Entry]:
        """A page of entries behind the number ``after``, of one subject, actor or action if given."""
        ...

    def entry(self, seq: int) -> Entry:
        """One entry; raises NotFound."""
        ...

    def verify(self) -> tuple[int, str]:
        """How many entries were proved, and the last hash; raises LedgerBroken."""
        ...


class ConfigReader(Protocol):
    """Knows how to read a lockgate.yaml, and a policy file."""

    def read(self, text: str) -> ModelConfig:
        """The configuration; raises Invalid with every problem and its line."""
        ...

    def state(self, text: str) -> Desired:
        """A file of what shall be live where; raises Invalid with every problem and its line."""
        ...

    def policy(self, text: str) -> PolicyText:
        """A policy file; raises Invalid with every problem and its line."""
        ...

    def default_policy(self) -> PolicyText:
        """The policy that is in force from the beginning."""
        ...

    def gate_kinds(self) -> tuple[str, ...]:
        """Every kind of gate that there is."""
        ...


class Secrets(Protocol):
    """Knows the tokens for servers elsewhere."""

    def read(self, reference: str, origin: str) -> str:
        """The token that ``secret://NAME`` stands for, to be sent to an origin; raises NotServable."""
        ...


class Workbench(Protocol):
    """Knows how to open models and judge them. Only job children have one: models are never opened elsewhere."""

    def package(
        self, folder: Path, data: Mapping[str, Path], config: ModelConfig, facts: Mapping[str, Any]
    ) -> Manifest:
        """Turn a logged model into a package whose files are all kept; raises UnsafeArtifact, CorruptArtifact,
        Invalid."""
        ...

    def evaluate(
        self, policy: Policy, candidate: Manifest, champion: Manifest | None, data: Mapping[str, Path]
    ) -> list[GateResult]:
        """Every gate of the policy, judged; a gate that cannot be judged is unknown, never missing."""
        ...


class Message(Protocol):
    """One message of the outbox."""

    @property
    def id(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> dict[str, Any]: ...


class Outbox(Protocol):
    """Knows what is still to be delivered."""

    def pending(self, limit: int = 100) -> Sequence[Message]:
        """Messages that are due, in the order of their commits."""
        ...

    def delivered(self, ids: Sequence[int]) -> None:
        """Forget messages that arrived."""
        ...

    def failed(self, id: int, error: str) -> None:
        """Try this one again later."""
        ...
