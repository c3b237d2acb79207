"""What the gates found, as cards: the sentence first, then the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import words
from lockgate.controlplane.web.figures import DRAWN, against_limit, pictures
from lockgate.controlplane.web.pieces import Node, badge, card, chip, facts, tone
from lockgate.controlplane.web.rest import part

_WORST = {"fail": 0, "unknown": 1, "pass": 2}


def evidence(report: Mapping[str, Any] | None) -> Component:
    """All gates of a report, those that did not pass first."""
    if report is None:
        return card("Evidence", html.P("The gates have not finished yet.", className="hint"))
    results = sorted(report["results"], key=lambda result: _WORST.get(result["verdict"], 1))
    passed = sum(result["verdict"] == "pass" for result in results)
    bound = facts(
        [
            ("package", html.Code(words.short(report["package"]), title=report["package"])),
            ("policy", html.Code(words.short(report["policy_digest"]), title=report["policy_digest"])),
            ("compared with", html.Code(words.short(report["champion"])) if report["champion"] else "nothing live yet"),
            *(
                (f"{role} data", cast(Node, html.Code(words.short(digest), title=digest)))
                for role, digest in report["data"].items()
            ),
        ]
    )
    return card(
        "Evidence",
        html.Div([_gate(result) for result in results], className="gates"),
        html.Div([html.Div("These verdicts hold for exactly this:", className="hint"), bound], className="bound"),
        html.Div(["The report as ", *_forms(str(report["id"]))], className="hint"),
        aside=badge(report["verdict"], f"{passed} of {len(results)} gates pass"),
    )


def _forms(report: str) -> list[Node]:
    found: list[Node] = []
    for form in ("html", "markdown", "json", "junit", "sarif"):
        address = f"/api/v1/reports/{part(report)}/rendered?format={form}"
        found += [html.A(form, href=address, target="_blank", rel="noopener"), " "]
    return found


def _gate(result: Mapping[str, Any]) -> Component:
    figures: dict[str, Any] = result["figures"]
    name = result["gate"] if result["name"] in ("", result["gate"]) else f"{result['gate']} · {result['name']}"
    told: list[Node] = [
        html.Div([html.H3(name), badge(result["verdict"])], className="gate-head"),
        html.P(result["sentence"], className="sentence"),
    ]
    if result["hint"]:
        told.append(html.P(result["hint"], className="hint"))
    scale = against_limit(figures)
    drawn = DRAWN if scale else frozenset[str]()
    told += scale
    told += pictures(figures)
    small = [
        chip(f"{words.plain(key)} {words.figure(value)}")
        for key, value in figures.items()
        if _small(value) and key not in drawn
    ]
    champion = figures.get("champion")
    if isinstance(champion, dict) and "value" in champion:
        small.append(chip(f"live version {words.figure(cast(dict[str, Any], champion)['value'])}"))
    if small:
        told.append(html.Div(small, className="chips"))
    if result["digest"]:
        told.append(
            html.Div(["evidence ", html.Code(words.short(result["digest"]), title=result["digest"])], className="hint")
        )
    return html.Article(told, className=f"gate {tone(result['verdict'])}")


def _small(value: Any) -> bool:
    return isinstance(value, int | float | bool) or (isinstance(value, str) and 0 < len(value) <= 40)
