"""The hash chain: every entry's hash covers the one before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lockgate.base.digest import digest_of_json
from lockgate.base.errors import LedgerBroken

#: What the first entry follows.
GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One change: who, what, before, after, why."""

    seq: int
    at: datetime
    actor: str
    #: Verb of the platform, such as promotion.requested or rollout.advanced.
    action: str
    #: Kind and id of what changed, such as version/thyroid:3.
    subject: str
    reason: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    #: Ids that tie it to others: request, incident, job.
    links: dict[str, str] = field(default_factory=dict)
    previous: str
    hash: str


def entry_hash(
    *,
    seq: int,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    reason: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    links: dict[str, str],
    previous: str,
) -> str:
    """The digest of an entry's canonical JSON with the previous entry's digest in it."""
    return digest_of_json(
        {
            "seq": seq,
            "at": at.isoformat(),
            "actor": actor,
            "action": action,
            "subject": subject,
            "reason": reason,
            "before": before,
            "after": after,
            "links": links,
            "previous": previous,
        }
    )


def verify(entries: Iterable[Entry], *, after: str = GENESIS, first: int = 1) -> tuple[int, str]:
    """Walk the chain and prove it.

    Returns:
        How many entries were proved, and the hash of the last.

    Raises:
        LedgerBroken: naming the first entry that does not fit.
    """
    previous, count = after, 0
    for expected, entry in enumerate(entries, start=first):
        if entry.seq != expected:
            raise LedgerBroken(f"entry {expected} is missing: found {entry.seq} in its place")
        if entry.previous != previous:
            raise LedgerBroken(f"entry {entry.seq} does not follow the one before it")
        computed = entry_hash(
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            reason=entry.reason,
            before=entry.before,
            after=entry.after,
            links=entry.links,
            previous=entry.previous,
        )
        if computed != entry.hash:
            raise LedgerBroken(f"entry {entry.seq} was changed after it was written")
        previous, count = entry.hash, count + 1
    return count, previous
