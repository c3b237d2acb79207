"""Undo the newest change on an endpoint: abort the rollout under way, or go back to a version that was live."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.errors import NotAllowedNow, NotFound
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.registry.records import Version, VersionState
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.domain.routing.table import WHOLE, EndpointRoute, Role, RouteTable, Target
from lockgate.ports import Store, Transaction, Why
from lockgate.workflows.publish_route import latest_table, publish_route


def roll_back(store: Store, endpoint_id: str, why: Why, *, to: str | None = None) -> RouteTable:
    """Give the endpoint's whole traffic back to an earlier version.

    Without ``to``: a rollout under way is aborted; otherwise the version that was live before answers again.

    Args:
        to: version id to go back to; it must have had this endpoint's whole traffic before.

    Raises:
        NotFound: no such endpoint, or a version that was never fully live here.
        NotAllowedNow: there is nothing to go back to, or the version was revoked.
    """
    with store.begin(why) as tx:
        return roll_back_in(tx, endpoint_id, why, to=to)


def roll_back_in(tx: Transaction, endpoint_id: str, why: Why, *, to: str | None = None) -> RouteTable:
    """As `roll_back`, in the caller's transaction."""
    endpoint = tx.get(Endpoint, endpoint_id)
    aborted = _abort_rollout(tx, endpoint, why)
    if aborted and endpoint.stable is None:
        return _never_begun(tx, endpoint, why)
    target = _target(tx, endpoint, to, aborted=aborted)
    route = _route(tx, endpoint, target)
    after = tx.save(
        replace(
            endpoint,
            stable=target,
            # Only a step back moves the memory: after an aborted canary the one before stays what it was.
            previous=endpoint.previous if target == endpoint.stable else None,
            candidate=None,
            rollout=None,
            updated_at=why.at,
        )
    )
    tx.record("endpoint.rolled_back", after, before=endpoint, after=after)
    tx.emit("mlflow.alias", {"model": endpoint.model, "environment": endpoint.environment, "version": target})
    return publish_route(tx, route, reason=f"rolled back: {why.reason}", at=why.at)


def _never_begun(tx: Transaction, endpoint: Endpoint, why: Why) -> RouteTable:
    """A first release whose time had not come: nothing of it was ever routed."""
    after = tx.save(replace(endpoint, candidate=None, rollout=None, updated_at=why.at))
    tx.record("endpoint.rolled_back", after, before=endpoint, after=after)
    return latest_table(tx, why.at)


def _abort_rollout(tx: Transaction, endpoint: Endpoint, why: Why) -> bool:
    if endpoint.rollout is None:
        return False
    rollout = tx.get(Rollout, endpoint.rollout)
    if rollout.phase.over:
        return False
    after = tx.save(replace(rollout, phase=Phase.ABORTED, reason=f"rolled back: {why.reason}", finished_at=why.at))
    tx.record("rollout.aborted", after, before=rollout, after=after)
    return True


def _target(tx: Transaction, endpoint: Endpoint, to: str | None, *, aborted: bool) -> str:
    if to is not None:
        # A release is made before its rollout begins: going "back" to a canary would take it past its guards.
        if not tx.find(Rollout, endpoint=endpoint.id, candidate=to, phase=Phase.COMPLETED, limit=1):
            raise NotFound(
                f"{to} was never fully live on {endpoint.id}", hint="lockgate endpoints show lists what was live there"
            )
        chosen = to
    elif aborted and endpoint.stable is not None:
        chosen = endpoint.stable
    elif endpoint.previous is not None:
        chosen = endpoint.previous
    else:
        raise NotAllowedNow(
            f"{endpoint.id} has no earlier version to go back to",
            hint="name one that was live before with --to MODEL:NUMBER",
        )
    if chosen == endpoint.stable and not aborted:
        raise NotAllowedNow(f"{chosen} is already live on {endpoint.id}")
    if tx.get(Version, chosen).state is not VersionState.READY:
        raise NotAllowedNow(f"{chosen} was revoked", hint="choose another version with --to")
    return chosen


def _route(tx: Transaction, endpoint: Endpoint, target: str) -> EndpointRoute:
    targets = [target_of(tx.get(Version, target), Role.LIVE, WHOLE)]
    # The version that is left stays loaded: going forward again must not wait for a cold start either.
    if endpoint.stable is not None and endpoint.stable != target:
        targets.append(target_of(tx.get(Version, endpoint.stable), Role.WARM))
    elif endpoint.previous is not None and endpoint.previous != target:
        targets.append(target_of(tx.get(Version, endpoint.previous), Role.WARM))
    return EndpointRoute(
        name=endpoint.id, model=endpoint.model, environment=endpoint.environment, targets=tuple(targets)
    )


def target_of(version: Version, role: Role, weight: int = 0) -> Target:
    """A version as a route's target.

    Raises:
        NotAllowedNow: it has no package.
    """
    if version.package is None:
        raise NotAllowedNow(f"{version.id} has no package yet")
    return Target(version=version.id, number=version.number, package=version.package, role=role, weight=weight)
