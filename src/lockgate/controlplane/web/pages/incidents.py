"""All incidents."""

from __future__ import annotations

import asyncio
from typing import Any

from dash import html

from lockgate.controlplane.web import words
from lockgate.controlplane.web.pieces import Node, Shown, badge, card, empty, headline, link, table, when
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest

_ORDER = {"open": 0, "acknowledged": 1, "mitigated": 2, "resolved": 3}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    page, alerts = await asyncio.gather(
        rest.get("/incidents", limit=100, after=place.asked.get("after")),
        rest.items("/alerts", state="open", limit=100),
    )
    found = sorted(page["items"], key=lambda incident: _ORDER[incident["state"]])
    now = [incident for incident in found if incident["state"] != "resolved"]
    then = [incident for incident in found if incident["state"] == "resolved"]
    top = headline("Incidents", html.Span(words.many(len(now), "open incident"), className="hint"))
    if not found:
        text = "When a live version breaks a limit, an alert opens here by itself, with all that is known about it."
        return Shown(title="Incidents", under="incidents", body=[top, empty("No incident yet", text)])
    loose = [alert for alert in alerts if not alert["incident"]]
    body: list[Node] = [top]
    body.append(card("Now", _table(now) if now else html.P("Nothing is open.", className="calm")))
    if loose:
        rows: list[list[Node]] = [
            [
                badge("watch", alert["kind"]),
                link(alert["endpoint"], to("endpoint", alert["endpoint"])),
                html.Span(alert["sentence"], className="sentence"),
                when(alert["opened_at"]),
            ]
            for alert in loose
        ]
        body.append(card("Alerts without an incident", table(("Kind", "Endpoint", "What", "Since"), rows)))
    if then:
        body.append(card("Before", _table(then)))
    if page["next"]:
        body.append(html.P(link("Older incidents", place.but(after=page["next"]))))
    return Shown(title="Incidents", under="incidents", body=body)


def _table(incidents: list[dict[str, Any]]) -> Any:
    rows: list[list[Node]] = []
    for incident in incidents:
        who = incident["acknowledged_by"] or ("nobody yet" if incident["state"] == "open" else "–")
        rows.append(
            [
                badge(incident["state"]),
                link(incident["title"], to("incident", incident["id"])),
                link(incident["endpoint"], to("endpoint", incident["endpoint"])),
                html.Span(words.version(incident["version"])),
                html.Span("yes, by the platform" if incident["rolled_back"] else "no"),
                html.Span(who),
                when(incident["opened_at"]),
            ]
        )
    return table(("State", "What", "Endpoint", "Version", "Rolled back", "Who is on it", "Opened"), rows)
