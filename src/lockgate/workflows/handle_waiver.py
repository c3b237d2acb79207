"""Ask for a waiver, let somebody else decide on it, take it back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from lockgate.base.errors import Forbidden, Invalid, NotAllowedNow
from lockgate.base.ids import Ids
from lockgate.domain.gates.waivers import Waiver, WaiverState, check_waiver
from lockgate.domain.registry.records import Model, Version
from lockgate.ports import ConfigReader, Store, Transaction, Why
from lockgate.workflows.set_environments import environments_of


@dataclass(frozen=True, kw_only=True, slots=True)
class WaiverWish:
    """What is asked for."""

    model: str
    environment: str
    gate: str
    #: Which gate of the kind; empty means every one.
    name: str = ""
    #: The only version it is for; None means any of the model.
    version: str | None = None
    expires_at: datetime


def request_waiver(store: Store, ids: Ids, configs: ConfigReader, wish: WaiverWish, why: Why) -> Waiver:
    """Ask that a gate may be passed by without its pass. It counts once somebody else has approved it.

    Raises:
        NotFound: no such model or version.
        Invalid: with all that is wrong.
        NotAllowedNow: the same is asked for, or approved, already.
    """
    with store.begin(why) as tx:
        tx.get(Model, wish.model)
        environments_of(tx).named(wish.environment)
        if wish.version is not None and tx.get(Version, wish.version).model != wish.model:
            raise Invalid(f"{wish.version} is no version of {wish.model}")
        if wish.expires_at.tzinfo is None:
            raise Invalid("expires_at has no time zone", hint="write it like 2026-12-24T18:00:00Z")
        waiver = Waiver(
            id=ids.new("waiver", why.at),
            model=wish.model,
            environment=wish.environment,
            gate=wish.gate,
            name=wish.name,
            version=wish.version,
            reason=why.reason,
            requested_by=why.actor,
            behind=why.behind,
            created_at=why.at,
            expires_at=wish.expires_at,
        )
        check_waiver(waiver, why.at, kinds=configs.gate_kinds())
        _refuse_twin(tx, waiver, why)
        kept = tx.add(waiver)
        tx.record("waiver.requested", kept, after=kept)
        return kept


def decide_waiver(store: Store, waiver_id: str, why: Why, *, approve: bool, person: bool) -> Waiver:
    """Approve a waiver, or turn it down; a decision is made once.

    Raises:
        NotFound: no such waiver.
        Forbidden: the one who asked, or a machine, tries to approve.
        NotAllowedNow: it is decided already, or has expired.
    """
    with store.begin(why) as tx:
        before = tx.get(Waiver, waiver_id)
        if before.state is not WaiverState.REQUESTED:
            raise NotAllowedNow(
                f"{before.id} is {before.state.value} already, by {before.decided_by}", hint="ask for a new one"
            )
        if why.actor in (before.requested_by, before.behind):
            raise Forbidden("nobody decides on a waiver that they asked for themselves", hint="ask a second person")
        if not person:
            raise Forbidden(f"{why.actor} is a machine, and only people decide on waivers", hint="sign in as a person")
        if approve and why.at >= before.expires_at:
            raise NotAllowedNow(f"{before.id} expired at {before.expires_at:%Y-%m-%d %H:%M}", hint="ask for a new one")
        state = WaiverState.APPROVED if approve else WaiverState.REJECTED
        return _decided(tx, before, state, why)


def revoke_waiver(store: Store, waiver_id: str, why: Why) -> Waiver:
    """Take an approved waiver back; nothing is let through by it from now on.

    Raises:
        NotFound: no such waiver.
        NotAllowedNow: it is not approved.
    """
    with store.begin(why) as tx:
        before = tx.get(Waiver, waiver_id)
        if before.state is not WaiverState.APPROVED:
            raise NotAllowedNow(f"{before.id} is {before.state.value}, so there is nothing to take back")
        return _decided(tx, before, WaiverState.REVOKED, why)


def _decided(tx: Transaction, before: Waiver, state: WaiverState, why: Why) -> Waiver:
    after = tx.save(replace(before, state=state, decided_by=why.actor, decision=why.reason, decided_at=why.at))
    tx.record(f"waiver.{state.value}", after, before=before, after=after)
    return after


def _refuse_twin(tx: Transaction, waiver: Waiver, why: Why) -> None:
    living = (WaiverState.REQUESTED, WaiverState.APPROVED)
    for known in tx.find(Waiver, model=waiver.model, environment=waiver.environment, state=living, limit=10_000):
        same = (known.gate, known.name, known.version) == (waiver.gate, waiver.name, waiver.version)
        if same and known.expires_at > why.at:
            raise NotAllowedNow(
                f"{known.id} is for the same and {known.state.value} until {known.expires_at:%Y-%m-%d %H:%M}",
                hint=f"lockgate waiver show {known.id}",
            )
