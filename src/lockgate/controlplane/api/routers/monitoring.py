"""What is watched: the fleet, an endpoint over time, distributions, and a canary beside its stable version."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from lockgate.controlplane.api.declared import AccessTo, declared_router, named_in_path, needs
from lockgate.domain.access.records import Action
from lockgate.domain.monitoring.fleet import EndpointStanding, Fleet
from lockgate.domain.monitoring.picture import Distribution, Monitoring
from lockgate.domain.rollout.picture import Comparison
from lockgate.workflows.read_comparison import read_comparison
from lockgate.workflows.read_distribution import read_distribution
from lockgate.workflows.read_fleet import read_fleet, read_standing
from lockgate.workflows.read_monitoring import read_monitoring

router = declared_router("", tag="monitoring")

#: What is shown when the request names no time.
USUAL = timedelta(hours=1)

From = Annotated[AwareDatetime | None, Query(alias="from", description="start, an hour before the end by default")]
To = Annotated[AwareDatetime | None, Query(alias="to", description="end, now by default")]


@router.get("/fleet")
@needs(Action.VIEW)
def fleet(access: AccessTo) -> Fleet:
    """Each model in each environment: version, traffic, health, drift, what is open."""
    parts = access.parts
    return read_fleet(parts.store, parts.counts, parts.clock.now())


@router.get("/endpoints/{endpoint}/standing")
@needs(Action.VIEW, environment=named_in_path("endpoint"))
def standing(endpoint: str, access: AccessTo) -> EndpointStanding:
    """One endpoint at a glance."""
    parts = access.parts
    return read_standing(parts.store, parts.counts, endpoint, parts.clock.now())


@router.get("/endpoints/{endpoint}/monitoring")
@needs(Action.VIEW, environment=named_in_path("endpoint"))
def monitoring(endpoint: str, access: AccessTo, start: From = None, end: To = None) -> Monitoring:
    """Traffic, drift and labelled quality of an endpoint from one moment to another."""
    parts = access.parts
    first, last = _times(start, end, parts.clock.now())
    return read_monitoring(parts.store, parts.counts, parts.labels, parts.configs, endpoint, first, last)


@router.get("/endpoints/{endpoint}/distributions")
@needs(Action.VIEW, environment=named_in_path("endpoint"))
def distributions(
    endpoint: str,
    access: AccessTo,
    feature: Annotated[str, Query(max_length=500, description="a watched feature, or the prediction")],
    start: From = None,
    end: To = None,
) -> Distribution:
    """One feature as it is spread now, beside training."""
    parts = access.parts
    first, last = _times(start, end, parts.clock.now())
    return read_distribution(parts.store, parts.counts, parts.configs, endpoint, feature, first, last)


@router.get("/rollouts/{rollout}/comparison")
@needs(Action.VIEW)
def comparison(rollout: str, access: AccessTo) -> Comparison:
    """The canary against the stable version that runs beside it."""
    parts = access.parts
    return read_comparison(parts.store, parts.counts, rollout, parts.clock.now())


def _times(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    last = end or now
    return start or last - USUAL, last
