"""One incident: what happened, in order, and what can be done."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import words
from lockgate.controlplane.web.may import may
from lockgate.controlplane.web.pieces import (
    Act,
    Node,
    Shown,
    attributes,
    badge,
    banner,
    card,
    chip,
    columns,
    facts,
    headline,
    link,
    when,
)
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest, part

_TITLES = {
    "open": "Open, and nobody is on it yet",
    "acknowledged": "Somebody is on it",
    "mitigated": "Mitigated: rolled back, not yet understood",
    "resolved": "Resolved",
}
_SIGNS = {
    "break-glass": "⚠",
    "alert": "!",
    "rollback": "↶",
    "note": "✎",
    "acknowledged": "✋",
    "resolved": "✓",
    "state": "•",
    "page": "@",
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    incident = await rest.get(f"/incidents/{part(place.about)}")
    alerts = await rest.all(*(f"/alerts/{part(id)}" for id in incident["alerts"]))
    endpoint = await rest.maybe(f"/endpoints/{part(incident['endpoint'])}")
    state = incident["state"]
    who = f"{incident['acknowledged_by']} is on it" if incident["acknowledged_by"] else ""
    told = "The platform rolled back by itself. " if incident["rolled_back"] else ""
    body: list[Node] = [
        headline(
            incident["title"],
            html.Span(["opened ", when(incident["opened_at"])], className="hint"),
            trail=[("Incidents", "/incidents"), (incident["id"], place.path)],
            acts=_acts(incident, endpoint, me),
        ),
        banner(
            state,
            _TITLES[state],
            f"{told}{who}",
            link("Watch the endpoint", to("endpoint", incident["endpoint"]), className="act"),
        ),
        columns(
            card("What happened", _timeline(incident["timeline"])),
            html.Div(
                [card("Alerts", *[_alert(alert) for alert in alerts if alert]), _about(incident, endpoint)],
                className="stack",
            ),
            className="wide-first",
        ),
    ]
    return Shown(title=incident["title"], under="incidents", body=body)


def _acts(incident: dict[str, Any], endpoint: dict[str, Any] | None, me: dict[str, Any]) -> list[Act]:
    if not may(me, "operate", incident["environment"]):
        return []
    url = f"/incidents/{part(incident['id'])}"
    note = Act(
        label="Add a note",
        url=f"{url}/notes",
        title="Add a note",
        sentence="It goes into the timeline for everybody to read.",
        field="note",
        asks="What did you see or do?",
        done="Noted.",
    )
    if incident["state"] == "resolved":
        return [note]
    acts = [note]
    if incident["state"] == "open":
        acts.append(
            Act(
                label="I am on it",
                url=f"{url}/acknowledge",
                title="Say that you are on it",
                sentence="The others see that somebody works on this.",
                asks="What do you do first?",
                done="The others see it now.",
            )
        )
    if endpoint and endpoint["previous"] and endpoint["stable"] == incident["version"]:
        acts.append(
            Act(
                label="Roll back",
                url=f"/endpoints/{part(endpoint['id'])}/rollback",
                title=f"Roll back {endpoint['id']}",
                sentence=f"{endpoint['previous']} answers again instead of {endpoint['stable']}, within a second.",
                danger=True,
                done="Rolled back.",
            )
        )
    resolve = Act(
        label="Resolve",
        url=f"{url}/resolve",
        title="Resolve the incident",
        sentence="Close it with what was found. It stays readable for good.",
        asks="What was the cause, and what was done about it?",
        done="Resolved.",
    )
    return [*acts, resolve]


def _timeline(events: list[dict[str, Any]]) -> Component:
    items: list[Node] = []
    for event in reversed(events):
        sign = html.Span(
            _SIGNS.get(event["kind"], "•"), className=f"mark is-{event['kind']}", **attributes(aria_hidden="true")
        )
        head = html.Div(
            [html.B(words.plain(event["kind"])), html.Span(f" by {event['by']} "), when(event["at"])], className="hint"
        )
        items.append(html.Li([sign, html.Div([html.Div(event["sentence"], className="sentence"), head])]))
    return html.Ol(items, className="timeline")


def _alert(alert: dict[str, Any]) -> Component:
    name = "bad" if alert["state"] == "open" else "closed"
    told: list[Node] = [
        html.Div(
            [badge(name, f"{words.plain(alert['kind'])} · {alert['state']}"), chip(f"seen {alert['count']}×")],
            className="chips",
        ),
        html.P(alert["sentence"], className="sentence"),
    ]
    if alert["names"]:
        told.append(
            html.Div(
                [
                    link(chip(name), f"{to('endpoint', alert['endpoint'])}?feature={part(name)}")
                    for name in alert["names"][:12]
                ],
                className="chips",
            )
        )
    told.append(
        html.Div(
            [when(alert["opened_at"], word="opened"), html.Span(" "), when(alert["last_at"], word="last seen")],
            className="hint",
        )
    )
    return html.Div(told, className="alert")


def _about(incident: dict[str, Any], endpoint: dict[str, Any] | None) -> Component:
    pairs: list[tuple[str, Node]] = [
        ("endpoint", link(incident["endpoint"], to("endpoint", incident["endpoint"]))),
        ("version at fault", html.B(words.version(incident["version"]))),
        ("model", link(incident["model"], to("model", incident["model"]))),
    ]
    if endpoint:
        pairs.append(("answers now", html.B(words.version(endpoint["stable"]))))
    if incident["due_at"]:
        pairs.append(("review due", when(incident["due_at"])))
    if incident["resolved_at"]:
        pairs.append(("resolved", when(incident["resolved_at"])))
    return card("About", facts(pairs))
