"""Each route that changes something leaves who, why, before and after in the ledger; the denied change nothing."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lockgate.base.verdict import Verdict
from lockgate.controlplane.api.app import OWN, create_app
from lockgate.controlplane.api.declared import declarations
from lockgate.controlplane.main import ROUTERS
from lockgate.domain.access.records import RoleName
from lockgate.domain.audit.ledger import Entry
from lockgate.domain.gates.records import Promotion, PromotionState
from lockgate.domain.incidents.records import Incident
from lockgate.domain.jobs.kinds import Offer
from lockgate.domain.rollout.records import Rollout
from lockgate.ports import Why
from lockgate.workflows.handle_waiver import WaiverWish, request_waiver
from tests.control import Control, control_in, served
from tests.programs.history import tell

API = "/api/v1"
#: Signing in and out is the browser's own cookie; data are kept by their content and belong to nothing until a
#: submission names them; and what gateways report are measurements.
NO_CHANGES = {
    ("POST", "/session"),
    ("DELETE", "/session"),
    ("POST", "/data"),
    ("POST", "/gateway/profiles"),
    ("POST", "/gateway/heartbeat"),
    ("POST", "/state/plan"),
    ("POST", "/policies/dry-run"),
}
_WAIVER = {"model": "readmission-risk", "environment": "dev", "gate": "regression"}
POLICY = """
policy: clinical
rules:
  - models: [none-of-these]
    approvals: 1
"""
CONFIG = """
model: new-one
owner: endocrine-team
risk: low
data: {holdout: holdout.parquet, label: diagnosis}
gates:
  - quality: {metric: roc_auc, at_least: 0.8}
"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One request that changes something."""

    route: tuple[str, str]
    #: Values of the path's parameters.
    at: dict[str, str] = field(default_factory=dict[str, str])
    body: Any = None
    #: What the ledger calls it.
    action: str
    #: Whether it makes something new, so that nothing was before.
    makes: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """A control plane with a past."""

    url: str
    control: Control
    admin: str
    #: Everybody who may look and no more.
    viewer: str
    changes: list[Change]

    def ask(self, change: Change, token: str) -> httpx.Response:
        method, path = change.route
        for name, value in change.at.items():
            path = path.replace(f"{{{name}}}", value)
        headers = {"authorization": f"Bearer {token}"}
        return httpx.request(method, self.url + API + path, json=change.body, headers=headers, timeout=30)

    def entries(self, after: int = 0) -> list[Entry]:
        return self.control.parts.ledger.entries(after=after, limit=10_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    home = tmp_path_factory.mktemp("home")
    told = tell(home, datetime.now(UTC))
    for number in (2, 3):
        version = told.version(number)
        if number == 2:
            for environment in ("dev", "test", "prod"):
                told.promote(version, environment)
        else:
            told.promote(version, "dev", Verdict.FAIL)
    control = control_in(home)
    admin, viewer = control.token("root", RoleName.ADMIN), control.token("vic", RoleName.VIEWER)
    app = create_app(control.parts, ROUTERS)
    with served(app) as url:
        yield Place(url=url, control=control, admin=admin, viewer=viewer, changes=_changes(control))


WHY = {"reason": "because"}
_PLACES = "environments: {dev: {}, test: {after: dev}, prod: {after: test}, moon: {after: prod}}"


def _changes(control: Control) -> list[Change]:
    """One change for each route, in an order in which each is allowed."""
    with control.parts.store.reading() as tx:
        rollout = next(known.id for known in tx.find(Rollout, order="-created_at") if known.finished_at is None)
        incident = tx.find(Incident)[0].id
        refused = tx.find(Promotion, model="readmission-risk", environment="dev", state=PromotionState.REFUSED)[0]
        first, second = tx.find(Promotion, environment="prod", state=PromotionState.AWAITING_APPROVAL, limit=2)
    signature = {"report": first.report, **WHY}
    label = {"prediction_id": "0" * 26, "value": "1"}
    good, bad = _waiver(control, "quality"), _waiver(control, "latency")
    return [
        *_arrivals(control),
        _post("/waivers/{waiver}/approve", "waiver.approved", waiver=good),
        _post("/waivers/{waiver}/revoke", "waiver.revoked", waiver=good),
        _post("/waivers/{waiver}/reject", "waiver.rejected", waiver=bad),
        _post("/promotions/{promotion}/force", "promotion.forced", promotion=refused.id),
        _post("/promotions/{promotion}/approve", "promotion.approved", signature, promotion=first.id),
        _post("/promotions/{promotion}/reject", "promotion.rejected", promotion=second.id),
        _post("/rollouts/{rollout}/pause", "rollout.paused", rollout=rollout),
        _post("/rollouts/{rollout}/continue", "rollout.continued", rollout=rollout),
        _post("/rollouts/{rollout}/abort", "rollout.aborted", rollout=rollout),
        _post("/endpoints/{endpoint}/rollback", "endpoint.rolled_back", endpoint="sepsis-alert.prod"),
        _made("/endpoints/{endpoint}/labels", "labels.added", {"labels": [label]}, endpoint="sepsis-alert.prod"),
        _post("/incidents/{incident}/acknowledge", "incident.acknowledged", incident=incident),
        _post("/incidents/{incident}/notes", "incident.noted", {"note": "looking"}, incident=incident),
        _post("/incidents/{incident}/resolve", "incident.resolved", incident=incident),
    ]


def _dead(control: Control) -> str:
    """The kind of a job that has died."""
    parts = control.parts
    with parts.store.begin(Why(actor="ada", reason="to tidy up", at=parts.clock.now())) as tx:
        tx.record("job.asked", "job/prune", after={"job": parts.jobs.enqueue(tx, "prune", {})})
    job = parts.jobs.lease("w", 10, Offer(queues=("upkeep",)))
    assert job is not None
    parts.jobs.fail(job, "the disk is full", retry=False)
    return job.kind


def _waiver(control: Control, gate: str) -> str:
    """One that somebody else asks for."""
    parts = control.parts
    now = parts.clock.now()
    wish = WaiverWish(model="readmission-risk", environment="dev", gate=gate, expires_at=now + timedelta(days=1))
    why = Why(actor="ada", reason="the data come next week", at=now)
    return request_waiver(parts.store, parts.ids, parts.configs, wish, why).id


def _arrivals(control: Control) -> list[Change]:
    """People, their tokens, and versions; an empty id is what the request before it made."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    token = {"principal": "max", "purpose": "a notebook", "expires_at": soon}
    data = {"holdout": control.parts.blobs.put(b"rows")}
    promotion = {"model": "readmission-risk", "version": 3, "environment": "dev", **WHY}
    return [
        _made("/people", "principal.added", {"name": "max", "roles": ["viewer"]}),
        Change(
            route=("PATCH", "/people/{name}"),
            at={"name": "max"},
            body={"groups": ["safety-board"], **WHY},
            action="principal.changed",
        ),
        _made("/tokens", "token.issued", token),
        Change(route=("DELETE", "/tokens/{token}"), at={"token": ""}, action="token.revoked"),
        _made("/submissions", "version.submitted", {"source": {"run_id": "a" * 32}, "config": CONFIG, "data": data}),
        _post("/jobs/{job}/cancel", "job.cancelled", {}, job=""),
        _post("/jobs/{job}/retry", "job.retried", {}, job=""),
        _post("/jobs/retry", "job.retried", {"kind": _dead(control), **WHY}),
        _made("/schedules", "schedule.added", {"name": "nightly", "kind": "prune", "cron": "@daily", **WHY}),
        _post("/schedules/{name}/pause", "schedule.paused", name="nightly"),
        _post("/schedules/{name}/resume", "schedule.resumed", name="nightly"),
        _post("/schedules/{name}/run", "schedule.run", name="nightly"),
        _post("/schedules/{name}/remove", "schedule.removed", name="nightly"),
        _made("/promotions", "promotion.requested", promotion),
        _post("/state/apply", "environments.set", {"text": _PLACES, **WHY}),
        _made("/waivers", "waiver.requested", {**_WAIVER, "expires_at": soon, **WHY}),
        _made("/policies", "policy.applied", {"text": POLICY, **WHY}),
        _post("/policies/{name}/withdraw", "policy.withdrawn", name="clinical"),
    ]


def _post(path: str, action: str, body: Any = WHY, **at: str) -> Change:
    return Change(route=("POST", path), at=at, body=body, action=action)


def _made(path: str, action: str, body: Any, **at: str) -> Change:
    return Change(route=("POST", path), at=at, body=body, action=action, makes=True)


def test_every_route_that_changes_something_is_tried_here(place: Place) -> None:
    declared = declarations((*OWN, *ROUTERS), "")
    changing = {route for route in declared if route[0] not in ("GET", "HEAD", "OPTIONS")}
    assert {change.route for change in place.changes} | NO_CHANGES == changing


def test_each_change_leaves_who_why_before_and_after(place: Place) -> None:
    made: dict[str, str] = {}
    for change in place.changes:
        for name in change.at:
            change.at[name] = change.at[name] or made[name]
        ours = place.entries()
        head, verified = ours[-1].seq, len(ours)
        denied = place.ask(change, place.viewer)
        assert denied.status_code == 403, (change, denied.text)
        assert denied.json()["hint"], change
        assert len(place.entries()) == verified, f"{change.route} was denied, and changed something"

        done = place.ask(change, place.admin)
        assert done.is_success, (change, done.text)
        answer: dict[str, Any] = done.json()
        made |= {"token": answer.get("id", ""), "job": answer.get("job") or made.get("job", "")}
        new = place.entries(after=head)
        entry = next((each for each in new if each.action == change.action), None)
        assert entry is not None, (change.route, [each.action for each in new])
        assert entry.actor == "root"
        assert entry.reason
        assert entry.after, change.route
        assert change.makes or entry.before, change.route
        assert entry.before != entry.after
        for each in new:
            assert each.actor in ("root", "lockgate"), each
            assert each.reason, each
            assert each.before or each.after, each
    assert place.control.parts.ledger.verify()[0] == len(place.entries())


def test_a_refused_change_leaves_nothing(place: Place) -> None:
    before = place.entries()
    for change in place.changes:
        at = {name: "nothing" if name != "endpoint" else "nothing.prod" for name in change.at}
        again = Change(route=change.route, at=at, body={"wrong": True}, action="")
        refused = place.ask(again, place.admin)
        assert refused.status_code in (404, 422), (change.route, refused.text)
        assert refused.json()["hint"], refused.text
    assert place.entries() == before
