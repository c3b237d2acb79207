"""What the control plane is put together from. Wiring makes the parts; routes take them from the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from lockgate.base.clock import Clock
from lockgate.base.ids import Ids
from lockgate.controlplane.callers import Callers
from lockgate.controlplane.news import News
from lockgate.controlplane.sessions import Sessions
from lockgate.edge_ports import Gateways, IdempotencyKeys, Identities, JobBoard, Leadership
from lockgate.ports import Authorizer, Blobs, ConfigReader, Jobs, Labels, Ledger, Outbox, Profiles, Store
from lockgate.settings import Settings
from lockgate.workflows.count_profiles import Counts, HeldBaselines


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Everything a route may need."""

    settings: Settings
    clock: Clock
    ids: Ids
    #: Gives that many bytes nobody can guess.
    chance: Callable[[int], bytes]
    store: Store
    authorizer: Authorizer
    identities: Identities
    sessions: Sessions
    idempotency: IdempotencyKeys
    jobs: Jobs
    board: JobBoard
    blobs: Blobs
    configs: ConfigReader
    profiles: Profiles
    labels: Labels
    ledger: Ledger
    gateways: Gateways
    outbox: Outbox
    #: Wakes gateways that wait for news.
    news: News
    #: What this one of several control planes leads.
    leadership: Leadership
    #: Makes a store whose changes are refused once another control plane leads a concern.
    led_store: Callable[[str], Store]
    #: Baselines that were read lately.
    baselines: HeldBaselines = field(default_factory=HeldBaselines)
    #: By name, what must be true before the platform counts as ready; an empty answer is good, any other says why not.
    readiness: Mapping[str, Callable[[], str]] = field(default_factory=dict[str, Callable[[], str]])

    @property
    def counts(self) -> Counts:
        """What was counted."""
        return Counts(profiles=self.profiles, blobs=self.blobs, held=self.baselines)

    @property
    def callers(self) -> Callers:
        """Who sent a request."""
        return Callers(identities=self.identities, sessions=self.sessions, clock=self.clock)


def parts_of(request: Request) -> Parts:
    """The parts of the application that a request came to."""
    return cast(Parts, request.app.state.parts)
