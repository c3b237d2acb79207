"""Publish how an endpoint is answered at the point where its rollout stands."""

from __future__ import annotations

from dataclasses import replace

from lockgate.domain.gates.records import Endpoint
from lockgate.domain.registry.records import Version
from lockgate.domain.rollout.records import Phase, Rollout
from lockgate.domain.rollout.rules import route_for
from lockgate.ports import Transaction, Why
from lockgate.workflows.publish_route import publish_route


def publish_rollout(tx: Transaction, endpoint: Endpoint, rollout: Rollout, why: Why) -> Endpoint:
    """Bring endpoint and routes in line with the rollout, as part of the caller's transaction."""
    if rollout.phase is Phase.SCHEDULED:
        waiting = tx.save(_following(endpoint, rollout, why))
        tx.record("endpoint.changed", waiting, before=endpoint, after=waiting)
        return waiting
    named = {rollout.candidate, rollout.stable, endpoint.previous} - {None}
    versions = tx.find(Version, id=sorted(filter(None, named)))
    packages = {version.id: version.package for version in versions if version.package}
    route = route_for(rollout, packages, endpoint.previous)
    after = tx.save(_following(endpoint, rollout, why))
    tx.record("endpoint.changed", after, before=endpoint, after=after)
    publish_route(tx, route, reason=f"{rollout.candidate}: {rollout.reason}", at=why.at)
    if rollout.phase is Phase.COMPLETED:
        told = {"model": after.model, "environment": after.environment, "version": rollout.candidate}
        tx.emit("mlflow.alias", told)
    return after


def _following(endpoint: Endpoint, rollout: Rollout, why: Why) -> Endpoint:
    match rollout.phase:
        case Phase.COMPLETED:
            return replace(
                endpoint,
                stable=rollout.candidate,
                previous=rollout.stable or endpoint.previous,
                candidate=None,
                rollout=None,
                updated_at=why.at,
            )
        case Phase.ABORTED:
            return replace(endpoint, candidate=None, rollout=None, updated_at=why.at)
        case Phase.SCHEDULED | Phase.RUNNING | Phase.HOLDING:
            return replace(endpoint, candidate=rollout.candidate, rollout=rollout.id, updated_at=why.at)
