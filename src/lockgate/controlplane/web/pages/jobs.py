"""Long work: queues, what runs, what died, and what comes by the calendar."""

from __future__ import annotations

import asyncio
from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import words
from lockgate.controlplane.web.may import may
from lockgate.controlplane.web.pieces import (
    Act,
    Node,
    Shown,
    badge,
    button,
    card,
    empty,
    headline,
    link,
    stat,
    stats,
    table,
    when,
)
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest, part


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    queues, running, waiting, parked, dead, ended, schedules, leaders = await asyncio.gather(
        rest.get("/jobs/queues"),
        rest.items("/jobs", state="running", limit=50),
        rest.items("/jobs", state="queued", limit=20),
        rest.items("/jobs", state="parked", limit=20),
        rest.items("/jobs", state="failed", limit=20),
        rest.get("/jobs", limit=20, after=place.asked.get("after")),
        rest.items("/schedules", limit=100),
        rest.get("/leaders"),
    )
    operates = may(me, "operate")
    body: list[Node] = [headline("Jobs", html.Span(_told(queues), className="hint"))]
    body.append(stats(*(_queue(queue) for queue in queues)))
    if dead:
        body.append(card("Dead letters", _dead(dead, operates), aside=_all_again(dead) if operates else None))
    if parked:
        body.append(card("Parked", _parked(parked), hint="no worker that is there knows them"))
    at_work = card("At work", _running(running, operates)) if running else None
    body.append(at_work or card("At work", html.P("No job runs just now.", className="calm")))
    if waiting:
        body.append(card("Waiting", _waiting(waiting, operates)))
    body.append(_schedules(schedules, operates))
    if ended["items"]:
        older = [html.P(link("Older jobs", place.but(after=ended["next"])))] if ended["next"] else []
        body.append(card("All, newest first", _all(ended["items"]), *older))
    body.append(_leaders(leaders))
    return Shown(title="Jobs", under="jobs", body=body)


def _told(queues: list[dict[str, Any]]) -> str:
    dead, waiting = sum(queue["dead"] for queue in queues), sum(queue["waiting"] for queue in queues)
    return f"{words.many(waiting, 'job')} waiting, {words.many(dead, 'dead letter')}"


def _queue(queue: dict[str, Any]) -> Component:
    value = f"{queue['running']} at work, {queue['waiting']} waiting"
    more = [f"{queue[name]} {name}" for name in ("parked", "dead") if queue[name]]
    return stat(queue["queue"], value, hint=", ".join(more) or "nothing is wrong", tone="warn" if more else "")


def _name(job: dict[str, Any]) -> Component:
    return link(f"{job['kind']} {_about(job)}".strip(), to("job", job["id"]), title=job["id"])


def _about(job: dict[str, Any]) -> str:
    payload = job["payload"]
    return str(payload.get("version") or payload.get("promotion") or payload.get("endpoint") or "")


def _running(jobs: list[dict[str, Any]], operates: bool) -> Component:
    rows: list[list[Node]] = [
        [
            _name(job),
            html.Span(job["progress"] or "begun", className="sentence"),
            html.Span(f"{job['attempts']} of {job['max_attempts']}"),
            html.Span(job["worker"], className="hint"),
            when(job["created_at"]),
            cancel(job) if operates else html.Span(),
        ]
        for job in jobs
    ]
    return table(("Job", "Where it is", "Attempt", "Worker", "Wanted", ""), rows)


def _waiting(jobs: list[dict[str, Any]], operates: bool) -> Component:
    rows: list[list[Node]] = [
        [
            _name(job),
            html.Span(job["queue"]),
            html.Span(job["error"] or "it waits for a worker", className="sentence"),
            when(job["due_at"], word="due"),
            cancel(job) if operates else html.Span(),
        ]
        for job in jobs
    ]
    return table(("Job", "Queue", "Why it waits", "From", ""), rows)


def _dead(jobs: list[dict[str, Any]], operates: bool) -> Component:
    rows: list[list[Node]] = [
        [
            _name(job),
            html.Span(job["error"], className="sentence"),
            html.Span(words.many(job["attempts"], "attempt")),
            when(job["updated_at"]),
            retry(job) if operates else html.Span(),
        ]
        for job in jobs
    ]
    return table(("Job", "Why it died", "After", "When", ""), rows)


def _parked(jobs: list[dict[str, Any]]) -> Component:
    rows: list[list[Node]] = [
        [_name(job), html.Span(job["error"], className="sentence"), when(job["updated_at"])] for job in jobs
    ]
    return table(("Job", "Why", "Since"), rows)


def _all(jobs: list[dict[str, Any]]) -> Component:
    rows: list[list[Node]] = [
        [
            badge(job["state"]),
            _name(job),
            html.Span(job["queue"]),
            html.Span(job["requested_by"]),
            when(job["updated_at"]),
        ]
        for job in jobs
    ]
    return table(("State", "Job", "Queue", "For", "At"), rows)


def cancel(job: dict[str, Any]) -> Component:
    """Stop a job."""
    return button(
        Act(
            label="Cancel",
            url=f"/jobs/{part(job['id'])}/cancel",
            title=f"Cancel {job['kind']} {_about(job)}",
            sentence="Its process is ended, and nothing that it does from now on is kept.",
            danger=True,
            done="Cancelled.",
        )
    )


def retry(job: dict[str, Any]) -> Component:
    """Another chance for a job."""
    return button(
        Act(
            label="Try again",
            url=f"/jobs/{part(job['id'])}/retry",
            title=f"Try {job['kind']} {_about(job)} again",
            sentence="It begins anew, with all its attempts; what was closed for its sake is opened again.",
            done="It begins anew.",
        )
    )


def _all_again(dead: list[dict[str, Any]]) -> Component:
    kinds = sorted({job["kind"] for job in dead})
    return html.Div(
        [
            button(
                Act(
                    label=f"Try all of {kind} again",
                    url="/jobs/retry",
                    title=f"Try every dead letter of {kind} again",
                    sentence="Each begins anew, with all its attempts.",
                    more={"kind": kind},
                    done="They begin anew.",
                )
            )
            for kind in kinds
        ],
        className="acts",
    )


def _schedules(schedules: list[dict[str, Any]], operates: bool) -> Component:
    if not schedules:
        command = "lockgate schedules add prune prune '15 3 * * *' --reason 'old jobs are of no use'"
        return card("By the calendar", empty("No schedule", "Jobs can be asked for again and again.", command))
    rows: list[list[Node]] = []
    for schedule in schedules:
        last = schedule["last_job"]
        rows.append(
            [
                html.Span(schedule["id"], title=schedule["reason"]),
                html.Span(f"{schedule['kind']} {schedule['payload'].get('endpoint', '')}".strip()),
                html.Span([html.Code(schedule["cron"]), html.Span(f" {schedule['zone']}", className="hint")]),
                badge("watch", "paused") if schedule["paused"] else when(schedule["next_at"]),
                link("its job", to("job", last)) if last else html.Span("–"),
                html.Span(_missed(schedule)),
                html.Div(_acts(schedule) if operates else [], className="acts"),
            ]
        )
    return card("By the calendar", table(("Schedule", "Job", "When", "Next", "Last", "Missed ones", ""), rows))


def _missed(schedule: dict[str, Any]) -> str:
    told = {"skip": "are passed over", "once": "are caught up with once", "all": "are all caught up with"}
    passed = f"; {schedule['passed_over']} so far" if schedule["passed_over"] else ""
    return told[schedule["catch_up"]] + passed


def _acts(schedule: dict[str, Any]) -> list[Component]:
    url, name = f"/schedules/{part(schedule['id'])}", schedule["id"]
    other = ("Resume", "resume", "It goes on with its next tick.") if schedule["paused"] else (
        "Pause", "pause", "No job is asked for until it is resumed.",
    )  # fmt: skip
    return [
        button(
            Act(
                label="Run now",
                url=f"{url}/run",
                title=f"Run {name} now",
                sentence="Its job is asked for now, beside its ticks.",
                done="Asked for.",
            )
        ),
        button(
            Act(label=other[0], url=f"{url}/{other[1]}", title=f"{other[0]} {name}", sentence=other[2], done="Done.")
        ),
    ]


def _leaders(leaders: list[dict[str, Any]]) -> Component:
    rows: list[list[Node]] = [
        [
            html.Span(leader["concern"]),
            html.Span(leader["holder"]) if leader["leads"] else badge("watch", "nobody just now"),
            html.Span(str(leader["token"]), title="grows with every change of leader"),
            when(leader["since"]),
        ]
        for leader in leaders
    ]
    return card("Who does what", table(("Concern", "Control plane", "Token", "Since"), rows))
