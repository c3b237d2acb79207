"""One job: where it is, what came of it, and what it wrote."""

from __future__ import annotations

import json
from typing import Any

from dash import html

from lockgate.controlplane.web.may import may
from lockgate.controlplane.web.pages.jobs import cancel, retry
from lockgate.controlplane.web.pieces import Node, Shown, banner, card, facts, headline, when
from lockgate.controlplane.web.places import Place
from lockgate.controlplane.web.rest import Rest, part

_TITLES = {
    "queued": "It waits for a worker",
    "running": "It is at work",
    "parked": "No worker that is there knows it",
    "done": "Done",
    "failed": "It died",
    "cancelled": "It was cancelled",
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    job = await rest.get(f"/jobs/{part(place.about)}")
    state = job["state"]
    told = job["error"] if state in ("failed", "parked", "queued") else job["progress"]
    acts: list[Node] = []
    if may(me, "operate"):
        if state in ("failed", "cancelled"):
            acts = [retry(job)]
        elif state != "done":
            acts = [cancel(job)]
    pairs: list[tuple[str, Node]] = [
        ("queue", job["queue"]),
        ("asked with", html.Code(json.dumps(job["payload"]))),
        ("attempts", f"{job['attempts']} of {job['max_attempts']}"),
        ("for", job["requested_by"]),
        ("wanted", when(job["created_at"])),
        ("last changed", when(job["updated_at"])),
    ]
    if job["worker"]:
        pairs.append(("worker", job["worker"]))
    if job["result"] is not None:
        pairs.append(("result", html.Code(json.dumps(job["result"]))))
    log = html.Pre(html.Code(job["log"])) if job["log"] else html.P("It wrote nothing.", className="calm")
    body: list[Node] = [
        headline(f"{job['kind']} job", *acts, trail=[("Jobs", "/jobs"), (job["id"], place.path)]),
        banner("pass" if state == "done" else state, _TITLES[state], told),
        card("Facts", facts(pairs)),
        card("What it wrote", log, hint="the end of it"),
    ]
    return Shown(title=f"{job['kind']} job", under="jobs", body=body, live=state not in ("done", "cancelled"))
