"""The platform's API as methods. What comes back is the JSON that came, as dictionaries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from lockgate.sdk.following import Follower
from lockgate.sdk.governing import Governing
from lockgate.sdk.rows import Answer, answer, tensors
from lockgate.sdk.transport import Json, Transport
from lockgate.sdk.working import Working

#: Labels sent in one request; the platform takes no more.
_LABELS_AT_ONCE = 5_000
_PIECE = 1 << 20


class Client:
    """A signed-in client. Each refusal is a `LockgateError` of the class that its code names.

    Args:
        url: Address of the control plane.
        token: What shows who is asking.
        gateway: Address of the inference gateways.
        timeout: Seconds to wait for one answer.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        gateway: str,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = Transport(url + "/api/v1", token, timeout=timeout, sleep=sleep)
        self._gateway = Transport(gateway, token, timeout=timeout, sleep=sleep)
        self._inputs: dict[str, list[Json]] = {}
        self.url = url
        #: Waits for long work and tells of it.
        self.follow = Follower(self._api, sleep)
        #: Jobs, schedules and leaders.
        self.work = Working(self._api)
        #: Policies and waivers.
        self.govern = Governing(self._api)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._gateway.close()

    # Who, and which version.

    def me(self) -> Json:
        """Who we are and what we may do."""
        return self._api.get("/me")

    def version(self) -> str:
        """The platform's version."""
        return str(self._api.get("/version")["version"])

    # Registry.

    def upload(self, file: Path) -> str:
        """Keep a table; gives its digest."""
        return str(self._api.send("/data", lambda: _pieces(file))["digest"])

    def submit(
        self, source: Mapping[str, str], config: str, data: Mapping[str, str], *, to: str | None, reason: str = ""
    ) -> tuple[Json, str]:
        """Have a logged model taken as a new version; gives the version and the job that packages it."""
        body = {"source": dict(source), "config": config, "data": dict(data), "to": to, "reason": reason}
        taken = self._api.post("/submissions", body)
        return taken["version"], str(taken["job"])

    def models(self) -> Iterator[Json]:
        """Every model, by name."""
        return self._api.pages("/models")

    def versions(self, model: str) -> Iterator[Json]:
        """A model's versions, newest first."""
        return self._api.pages(f"/models/{_part(model)}/versions")

    def get_version(self, model: str, number: int) -> Json:
        """One version, with its manifest once it is packaged."""
        return self._api.get(f"/models/{_part(model)}/versions/{number}")

    def environments(self) -> Json:
        """Every environment, in the order that versions pass through them."""
        return self._api.get("/environments")

    def plan_state(self, text: str) -> Json:
        """What it would take to bring reality in line with a file."""
        return self._api.post_once("/state/plan", {"text": text})

    def apply_state(self, text: str, *, reason: str) -> Json:
        """Bring reality in line with a file, as far as that can be done now."""
        return self._api.post("/state/apply", {"text": text, "reason": reason})

    def diff(self, before: str, after: str) -> Json:
        """What is different between two versions, each named like thyroid:3."""
        return self._api.get("/diff", before=before, after=after)

    def reports(self, model: str, number: int) -> Iterator[Json]:
        """A version's gate reports, newest first."""
        return self._api.pages(f"/models/{_part(model)}/versions/{number}/reports")

    def report(self, id: str) -> Json:
        """One gate report."""
        return self._api.get(f"/reports/{_part(id)}")

    def rendered_report(self, id: str, form: str) -> str:
        """One gate report as html, markdown, json, junit or sarif."""
        return self._api.text(f"/reports/{_part(id)}/rendered", format=form)

    def job(self, id: str) -> Json:
        """One piece of long work."""
        return self._api.get(f"/jobs/{_part(id)}")

    # Promotions.

    def promote(self, model: str, version: int, environment: str, *, reason: str) -> Json:
        """Ask that a version goes to an environment; gives the promotion, whose gates begin to work."""
        body = {"model": model, "version": version, "environment": environment, "reason": reason}
        return self._api.post("/promotions", body)["promotion"]

    def promotions(self, **only: str | None) -> Iterator[Json]:
        """Promotions, newest first; ``only`` takes model, version, environment and state."""
        return self._api.pages("/promotions", **only)

    def promotion(self, id: str) -> Json:
        """One promotion: where it stands and why."""
        return self._api.get(f"/promotions/{_part(id)}")

    def approve(self, id: str, *, report: str, reason: str) -> Json:
        """Sign a promotion, bound to the report that was read."""
        return self._api.post(f"/promotions/{_part(id)}/approve", {"report": report, "reason": reason})

    def reject(self, id: str, *, reason: str) -> Json:
        """Turn a promotion down."""
        return self._api.post(f"/promotions/{_part(id)}/reject", {"reason": reason})

    def releases(self, **only: str | None) -> Iterator[Json]:
        """Releases, newest first; ``only`` takes endpoint and version."""
        return self._api.pages("/releases", **only)

    def release(self, id: str) -> Json:
        """One release."""
        return self._api.get(f"/releases/{_part(id)}")

    # Rollouts and endpoints.

    def rollouts(self, endpoint: str | None = None) -> Iterator[Json]:
        """Rollouts, newest first."""
        return self._api.pages("/rollouts", endpoint=endpoint)

    def rollout(self, id: str) -> Json:
        """One rollout: its steps, where it stands, what it was last judged on."""
        return self._api.get(f"/rollouts/{_part(id)}")

    def abort(self, rollout: str, *, reason: str) -> Json:
        """Give the stable version all of the traffic back."""
        return self._api.post(f"/rollouts/{_part(rollout)}/abort", {"reason": reason})

    def pause(self, rollout: str, *, reason: str) -> Json:
        """Hold a rollout where it is."""
        return self._api.post(f"/rollouts/{_part(rollout)}/pause", {"reason": reason})

    def go_on(self, rollout: str, *, reason: str) -> Json:
        """Let a held rollout go on."""
        return self._api.post(f"/rollouts/{_part(rollout)}/continue", {"reason": reason})

    def endpoints(self, model: str | None = None) -> Iterator[Json]:
        """What callers can address, by name."""
        return self._api.pages("/endpoints", model=model)

    def endpoint(self, name: str) -> Json:
        """One endpoint: which version answers, which came before, what is on its way."""
        return self._api.get(f"/endpoints/{_part(name)}")

    def rollback(self, endpoint: str, *, reason: str, to: str | None = None) -> Json:
        """Undo the newest change of an endpoint; gives the route table in force from now on."""
        return self._api.post(f"/endpoints/{_part(endpoint)}/rollback", {"reason": reason, "to": to})

    def monitoring(self, endpoint: str, start: str | None = None, end: str | None = None) -> Json:
        """What was seen of an endpoint between two times (ISO 8601)."""
        return self._api.get(f"/endpoints/{_part(endpoint)}/monitoring", **{"from": start, "to": end})

    def routes(self) -> Iterator[Json]:
        """Route generations, newest first."""
        return self._api.pages("/routes")

    # Predictions and labels.

    def predict(self, endpoint: str, rows: Any, *, key: str = "") -> Answer:
        """Ask an endpoint.

        Args:
            rows: A data frame, a list of mappings by column, or a matrix [N, k] with columns in the model's order.
            key: Callers of the same key are answered by the same version while a rollout goes on.

        Raises:
            NotFound: no such endpoint.
            Invalid: the rows do not fit the model's signature.
        """
        path = f"/v2/models/{_part(endpoint)}"
        if endpoint not in self._inputs:
            self._inputs[endpoint] = self._gateway.get(path)["inputs"]
        body: Json = {"inputs": tensors(rows, self._inputs[endpoint])}
        headers = {"x-lockgate-key": key} if key else {}
        return answer(endpoint, self._gateway.post_once(path + "/infer", body, headers))

    def label(self, endpoint: str, values: Mapping[str, Any]) -> int:
        """Bring the truth by prediction id; gives how many labels are new or changed."""
        labels = [{"prediction_id": id, "value": _as_text(value)} for id, value in values.items()]
        path, changed = f"/endpoints/{_part(endpoint)}/labels", 0
        for at in range(0, len(labels), _LABELS_AT_ONCE):
            changed += int(self._api.post(path, {"labels": labels[at : at + _LABELS_AT_ONCE]})["changed"])
        return changed

    # Alerts and incidents.

    def alerts(self, **only: str | None) -> Iterator[Json]:
        """Alerts, newest first; ``only`` takes endpoint and state."""
        return self._api.pages("/alerts", **only)

    def incidents(self, **only: str | None) -> Iterator[Json]:
        """Incidents, newest first; ``only`` takes endpoint and state."""
        return self._api.pages("/incidents", **only)

    def incident(self, id: str) -> Json:
        """One incident with its timeline."""
        return self._api.get(f"/incidents/{_part(id)}")

    def acknowledge(self, incident: str, *, reason: str) -> Json:
        """Say that somebody is on it."""
        return self._api.post(f"/incidents/{_part(incident)}/acknowledge", {"reason": reason})

    def note(self, incident: str, text: str) -> Json:
        """Write a line into an incident's timeline."""
        return self._api.post(f"/incidents/{_part(incident)}/notes", {"note": text})

    def resolve(self, incident: str, *, reason: str) -> Json:
        """Close an incident, with what was found."""
        return self._api.post(f"/incidents/{_part(incident)}/resolve", {"reason": reason})

    # People and tokens.

    def people(self) -> Iterator[Json]:
        """Everybody the platform knows."""
        return self._api.pages("/people")

    def add_person(
        self, name: str, roles: Sequence[str], *, person: bool = True, groups: Sequence[str] = (), reason: str = ""
    ) -> Json:
        """Let a person, or a machine, in."""
        body: Json = {"name": name, "roles": list(roles), "person": person, "groups": list(groups)}
        return self._api.post("/people", {**body, "reason": reason})

    def change_person(self, name: str, *, reason: str, **changes: Any) -> Json:
        """Change ``roles`` or ``groups`` of somebody, or shut them out with ``disabled``."""
        return self._api.patch(f"/people/{_part(name)}", {**changes, "reason": reason})

    def tokens(self, principal: str | None = None) -> Iterator[Json]:
        """Tokens that were issued, newest first; never their text."""
        return self._api.pages("/tokens", principal=principal)

    def issue_token(
        self,
        principal: str,
        *,
        purpose: str,
        expires_at: str,
        roles: Sequence[str] = (),
        environments: Sequence[str] = (),
        behind: str = "",
    ) -> Json:
        """Issue a token; its text, ``token``, is in this answer and nowhere else."""
        body: Json = {"principal": principal, "purpose": purpose, "expires_at": expires_at, "behind": behind}
        return self._api.post_once("/tokens", {**body, "roles": list(roles), "environments": list(environments)})

    def revoke_token(self, id: str, *, reason: str) -> Json:
        """Make a token worthless."""
        return self._api.delete(f"/tokens/{_part(id)}", reason=reason)

    # The record.

    def audit_entries(self, **only: str | None) -> Iterator[Json]:
        """Ledger entries, newest first; ``only`` takes subject, actor and action."""
        return self._api.pages("/audit/entries", **only)

    def verify_audit(self) -> Json:
        """Have the whole chain proved."""
        return self._api.get("/audit/verify")

    def served(self, endpoint: str, at: str) -> Json:
        """Which version answered on an endpoint at a moment (ISO 8601)."""
        return self._api.get("/audit/served", endpoint=endpoint, at=at)


def _part(text: str) -> str:
    """Text as one part of a path, whatever is in it."""
    return quote(text, safe="")


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    plain = value.item() if hasattr(value, "item") else value
    return str(plain)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            yield piece
