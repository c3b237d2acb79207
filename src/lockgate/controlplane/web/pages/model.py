"""One model: where it answers, its versions, and what is asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
    chip,
    empty,
    facts,
    headline,
    link,
    table,
    when,
)
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest, part


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    name = place.about
    model, versions, promotions, endpoints, chain = await asyncio.gather(
        rest.get(f"/models/{part(name)}"),
        rest.items(f"/models/{part(name)}/versions", limit=100),
        rest.items("/promotions", model=name, limit=100),
        rest.items("/endpoints", model=name),
        rest.get("/environments"),
    )
    environments: list[dict[str, Any]] = chain["environments"]
    top = headline(
        model["id"],
        chip(f"{model['risk']} risk"),
        html.Span(model["owner"], className="hint"),
        trail=[("Fleet", "/"), (model["id"], place.path)],
    )
    body: list[Node] = [top]
    if model["description"]:
        body.append(html.P(model["description"], className="lead"))
    waiting = [promotion for promotion in promotions if promotion["state"] == "awaiting_approval"]
    body += [_waiting(promotion) for promotion in waiting]
    body.append(_environments(endpoints, environments))
    body.append(_versions(versions, promotions, endpoints, environments, me))
    body.append(_promotions(promotions))
    return Shown(title=model["id"], body=body)


def _waiting(promotion: dict[str, Any]) -> Component:
    return html.Div(
        [
            html.Span("!", className="sign"),
            html.Div(
                [
                    html.Strong(
                        f"{words.version(promotion['version'])} waits for a signature to enter "
                        f"{promotion['environment']}"
                    ),
                    html.Div(f"asked by {promotion['requested_by']}: {promotion['reason']}"),
                ]
            ),
            html.Div(link("Read the evidence", to("promotion", promotion["id"]), className="act"), className="aside"),
        ],
        className="banner warn",
    )


def _environments(endpoints: Sequence[dict[str, Any]], environments: Sequence[dict[str, Any]]) -> Component:
    order = {each["name"]: place for place, each in enumerate(environments)}
    cells: list[Node] = []
    for endpoint in sorted(endpoints, key=lambda one: order.get(one["environment"], len(order))):
        told: list[tuple[str, Node]] = [
            ("answers", link(words.version(endpoint["stable"]), to("endpoint", endpoint["id"]), className="version")),
            ("kept warm behind it", words.version(endpoint["previous"])),
        ]
        if endpoint["candidate"]:
            told.append(("on its way", badge("running", words.version(endpoint["candidate"]))))
        told.append(("changed", when(endpoint["updated_at"])))
        cells.append(html.Div([html.Div(endpoint["environment"], className="env"), facts(told)], className="cell"))
    if not cells:
        return card("Environments", html.P("No version was promoted anywhere yet.", className="hint"))
    return card("Environments", html.Div(cells, className="cells"))


def _versions(
    versions: Sequence[dict[str, Any]],
    promotions: Sequence[dict[str, Any]],
    endpoints: Sequence[dict[str, Any]],
    environments: Sequence[dict[str, Any]],
    me: dict[str, Any],
) -> Component:
    if not versions:
        return card("Versions", empty("No version yet", "Submit a logged run:", "lockgate submit --run RUN_ID"))
    rows: list[list[Node]] = []
    names = [each["name"] for each in environments]
    for version in versions:
        own = [promotion for promotion in promotions if promotion["version"] == version["id"]]
        manifest = version["manifest"] or {}
        format = " · ".join(text for text in (manifest.get("flavor", ""), manifest.get("serialization", "")) if text)
        state = badge(version["state"], title=version["failure"])
        told = html.Div([state, html.Div(version["failure"], className="hint")]) if version["failure"] else state
        rows.append(
            [
                html.B(words.version(version["id"])),
                told,
                html.Code(words.short(version["package"]), title=version["package"] or "not packaged yet"),
                html.Span(format or "–"),
                html.Div([_journey(name, version, own, endpoints) for name in names], className="journey"),
                html.Span([when(version["created_at"]), html.Span(f" by {version['created_by']}", className="hint")]),
                _next(version, own, environments, me),
            ]
        )
    heads = ("Version", "State", "Package", "Format", "Journey", "Submitted", "")
    return card("Versions", table(heads, rows), hint=words.many(len(versions), "version"))


def _journey(
    environment: str, version: dict[str, Any], own: Sequence[dict[str, Any]], endpoints: Sequence[dict[str, Any]]
) -> Component:
    here = next((endpoint for endpoint in endpoints if endpoint["environment"] == environment), {})
    newest = next((promotion for promotion in own if promotion["environment"] == environment), None)
    if here.get("stable") == version["id"]:
        return link(badge("good", f"{environment}: answers"), to("endpoint", here["id"]))
    if here.get("candidate") == version["id"] and newest and newest["release"]:
        return link(badge("running", f"{environment}: on its way"), to("release", newest["release"]))
    if newest is None:
        return html.Span(environment, className="chip faint", title="never asked for")
    name, word = newest["state"], words.plain(newest["state"])
    if name == "released":
        name, word = "quiet", "was here"
    where = to("release", newest["release"]) if newest["release"] else to("promotion", newest["id"])
    return link(badge(name, f"{environment}: {word}", title=newest["sentence"]), where)


def _next(
    version: dict[str, Any], own: Sequence[dict[str, Any]], environments: Sequence[dict[str, Any]], me: dict[str, Any]
) -> Component:
    """The button that asks for the next environment on the chain."""
    released = {promotion["environment"] for promotion in own if promotion["state"] == "released"}
    pending = {promotion["environment"] for promotion in own if promotion["state"] in ("gating", "awaiting_approval")}
    target = next(
        (
            each["name"]
            for each in environments
            if each["name"] not in released and all(before in released for before in each["after"])
        ),
        None,
    )
    if version["state"] != "ready" or target is None or target in pending or not may(me, "promote", target):
        return html.Span("")
    act = Act(
        label=f"Promote to {target}",
        url="/promotions",
        title=f"Promote {version['id']} to {target}",
        sentence=f"Its gates for {target} run first; it is released only when all of them pass.",
        more={"model": version["model"], "version": version["number"], "environment": target},
        done="Asked for. The gates are at work.",
    )
    return button(act)


def _promotions(promotions: Sequence[dict[str, Any]]) -> Component:
    if not promotions:
        return card("Promotions", html.P("Nobody asked for a promotion yet.", className="hint"))
    rows: list[list[Node]] = [
        [
            html.B(words.version(promotion["version"])),
            html.Span(promotion["environment"]),
            link(badge(promotion["state"]), to("promotion", promotion["id"])),
            html.Span(promotion["sentence"], className="sentence"),
            html.Span([when(promotion["created_at"]), html.Span(f" by {promotion['requested_by']}", className="hint")]),
        ]
        for promotion in promotions
    ]
    return card("Promotions", table(("Version", "To", "State", "Why", "Asked"), rows))
