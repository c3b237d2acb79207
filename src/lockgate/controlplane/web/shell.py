"""What surrounds every page: the mark, the ways to the other pages, and who is signed in."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web.pieces import Node, Shown, attributes, link
from lockgate.controlplane.web.places import Place


def around(shown: Shown, place: Place, me: dict[str, Any] | None) -> Component:
    """The whole page."""
    entries = [("fleet", "Fleet", "/"), ("incidents", "Incidents", "/incidents"), ("jobs", "Jobs", "/jobs")]
    if me and "audit" in me["actions"]:
        entries.append(("audit", "Ledger", "/audit"))
    ways: list[Node] = [
        link(text, href, className="way here" if name == shown.under else "way") for name, text, href in entries
    ]
    mark = link(html.Span([html.Img(src="/sign-in/mark.svg", alt=""), html.Span("Lockgate")]), "/", className="mark")
    who: list[Node] = [html.A("Experiments", href="/mlflow/", className="way", title="MLflow: runs and artifacts")]
    if me:
        who.append(html.Span(me["principal"], className="who", title=", ".join(me["roles"])))
        who.append(html.Button("Sign out", type="button", className="plain", **attributes(data_sign_out="1")))
    header = html.Header(
        [mark, html.Nav(ways, className="ways", **attributes(aria_label="Pages")), html.Div(who, className="me")],
        className="top",
    )
    return html.Div([header, html.Main(list(shown.body), className=f"page {place.page}")], className="shell")
