"""Say which environments there are, and in which order versions pass through them."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.errors import NotAllowedNow
from lockgate.domain.gates.environments import DEFAULT, Environment, Environments, in_order
from lockgate.domain.gates.records import Endpoint, Promotion, PromotionState
from lockgate.ports import Store, Transaction, Why

_OPEN = (PromotionState.GATING.value, PromotionState.AWAITING_APPROVAL.value)


def environments_of(tx: Transaction) -> Environments:
    """Those there are: what somebody has set, else dev, test and prod."""
    known = tx.find(Environments, limit=1)
    return known[0] if known else DEFAULT


def set_environments(store: Store, wanted: tuple[Environment, ...], why: Why) -> Environments:
    """Set all environments at once; setting what is set already changes nothing.

    Raises:
        Invalid: they go round in a circle, or name what is not there.
        NotAllowedNow: one that is to go still answers callers, or is asked for by an open promotion.
    """
    with store.begin(why) as tx:
        return set_environments_in(tx, wanted)


def set_environments_in(tx: Transaction, wanted: tuple[Environment, ...]) -> Environments:
    """As `set_environments`, in the caller's transaction."""
    ordered = in_order(wanted)
    before = environments_of(tx)
    if ordered == before.environments:
        return before
    gone = sorted(set(before.names) - {place.name for place in ordered})
    problems = [problem for name in gone for problem in _still_used(tx, name)]
    if problems:
        raise NotAllowedNow("an environment that is in use cannot go", problems=problems, hint="; ".join(problems))
    after = replace(before, environments=ordered)
    kept = tx.save(after) if before.revision else tx.add(after)
    tx.record("environments.set", kept, before=before, after=kept)
    return kept


def _still_used(tx: Transaction, name: str) -> list[str]:
    live = [endpoint.id for endpoint in tx.find(Endpoint, environment=name, limit=1000) if endpoint.stable]
    asked = [promotion.id for promotion in tx.find(Promotion, environment=name, state=_OPEN, limit=1000)]
    told = [f"{name}: {', '.join(live[:5])} still answers callers"] if live else []
    return told + ([f"{name}: {', '.join(asked[:5])} is still open"] if asked else [])
