"""Every model in every environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import charts, words
from lockgate.controlplane.web.pieces import Node, Shown, badge, banner, chip, empty, headline, link, tone, when
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest, origin

_WORDS = {"good": "healthy", "watch": "watch", "bad": "needs you", "quiet": "quiet", "empty": "empty"}
#: Who needs somebody comes first.
_FIRST = {"bad": 0, "watch": 1}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    fleet = await rest.get("/fleet")
    models = fleet["models"]
    top = headline("Fleet", html.Span(f"{words.many(len(models), 'model')}", className="hint"))
    if not models:
        body = empty(
            "No model yet",
            "Log a model with the ordinary mlflow client, write a lockgate.yaml beside it, and submit the run. "
            "Or let lockgate demo tell the whole story first.",
            f"export MLFLOW_TRACKING_URI={origin()}/mlflow MLFLOW_TRACKING_TOKEN=lg_...",
            "python train.py",
            "lockgate submit --run RUN_ID",
        )
        return Shown(title="Fleet", body=[top, body])
    endpoints = [endpoint for model in models for endpoint in model["endpoints"]]
    awaiting = sum(len(model["awaiting"]) for model in models)
    rows = [_row(model, fleet["environments"]) for model in sorted(models, key=_urgency)]
    return Shown(title="Fleet", body=[top, _summary(endpoints, awaiting), html.Div(rows, className="fleet")])


def _summary(endpoints: Sequence[dict[str, Any]], awaiting: int) -> Component:
    beside: list[Node] = [badge("awaiting_approval", f"{words.many(awaiting, 'approval')} waiting")] if awaiting else []
    bad = [endpoint for endpoint in endpoints if endpoint["health"] == "bad"]
    moved = [endpoint for endpoint in endpoints if endpoint["health"] == "watch"]
    if bad:
        verb = "needs" if len(bad) == 1 else "need"
        return banner("bad", f"{words.many(len(bad), 'endpoint')} {verb} somebody now", _names(bad), *beside)
    if moved:
        return banner("watch", f"{words.many(len(moved), 'endpoint')} to keep an eye on", _names(moved), *beside)
    if not any(endpoint["traffic"] for endpoint in endpoints):
        return banner("quiet", "No traffic just now", "nobody asked any endpoint in the last minutes", *beside)
    return banner("good", "All endpoints are healthy", "no open alert, no open incident", *beside)


def _urgency(model: dict[str, Any]) -> tuple[int, str]:
    return min((_FIRST.get(endpoint["health"], 2) for endpoint in model["endpoints"]), default=2), model["model"]


def _names(endpoints: Sequence[dict[str, Any]]) -> Component:
    return html.Span(
        [
            html.Span([link(endpoint["endpoint"], to("endpoint", endpoint["endpoint"])), html.Span(" ")])
            for endpoint in endpoints[:6]
        ]
    )


def _row(model: dict[str, Any], environments: Sequence[str]) -> Component:
    by_name = {endpoint["environment"]: endpoint for endpoint in model["endpoints"]}
    newest = "no version yet" if model["newest"] is None else f"newest v{model['newest']}"
    facts: list[Node] = [chip(f"{model['risk']} risk"), chip(newest)]
    if model["newest_state"] in ("packaging", "failed", "revoked"):
        facts.append(badge(model["newest_state"]))
    if model["awaiting"]:
        facts.append(link(badge("awaiting_approval", "approval waiting"), to("promotion", model["awaiting"][0])))
    who = html.Div(
        [
            link(model["model"], to("model", model["model"]), className="name"),
            html.Div(model["owner"], className="hint"),
            html.Div(facts, className="chips"),
        ],
        className="who",
    )
    cells = [_cell(name, by_name.get(name)) for name in environments]
    return html.Article([who, *cells], className="fleet-row")


def _cell(environment: str, endpoint: dict[str, Any] | None) -> Component:
    if endpoint is None:
        return html.Div(
            [html.Div(environment, className="env"), html.Div("nothing here yet", className="hint")],
            className="cell quiet",
        )
    head = html.Div(
        [
            html.Span(environment, className="env"),
            badge(endpoint["health"], _WORDS[endpoint["health"]], title=endpoint["sentence"]),
        ],
        className="cell-head",
    )
    answering = html.Div(
        [
            link(words.version(endpoint["stable"]), to("endpoint", endpoint["endpoint"]), className="version"),
            html.Span(when(endpoint["changed_at"], word="since"), className="hint"),
        ],
        className="answering",
    )
    traffic = endpoint["traffic"]
    if traffic is None:
        last = (
            "Nobody asked in the last 5 minutes." if any(endpoint["recent"]) else "Nobody asked in the last 30 minutes."
        )
        figures = html.Div(last, className="nobody")
    else:
        figures = html.Div(
            [
                _figure(words.count(endpoint["requests_per_minute"]), "requests / min"),
                _figure(words.milliseconds(traffic["p95_ms"]), "p95"),
                _figure(words.share(traffic["error_share"]), "errors"),
            ],
            className="figures",
        )
    told: list[Node] = [head, answering]
    if any(endpoint["recent"]):
        told.append(charts.spark(endpoint["recent"], title="requests in the last 30 minutes"))
    told += [figures, html.Div(_marks(endpoint), className="chips")]
    return html.Div(told, className=f"cell {tone(endpoint['health'])}")


def _figure(value: str, label: str) -> Component:
    known = "unknown" if value == words.UNKNOWN else ""
    return html.Div([html.B(value, className=known), html.Span(label)])


def _marks(endpoint: dict[str, Any]) -> list[Node]:
    marks: list[Node] = []
    coming = endpoint["on_its_way"]
    if coming:
        kind = "shadow" if coming["kind"] == "shadow" else words.share(coming["share"])
        text = f"{words.version(coming['version'])} {kind}, step {coming['step']} of {coming['steps']}"
        name = "holding" if coming["paused"] else "running"
        marks.append(link(badge(name, text, title=coming["reason"]), to("release", coming["release"])))
    drift = {"pass": "no drift", "fail": words.many(len(endpoint["drifted"]), "feature") + " drifted"}
    if endpoint["drift"] in drift:
        name = "pass" if endpoint["drift"] == "pass" else "watch"
        marks.append(badge(name, drift[endpoint["drift"]], title=endpoint["drift_sentence"]))
    elif endpoint["traffic"]:
        marks.append(badge("unknown", "drift unknown", title=endpoint["drift_sentence"]))
    incidents = endpoint["open_incidents"]
    if incidents:
        text = words.many(len(incidents), "open incident")
        marks.append(link(badge("bad", text), to("incident", incidents[0])))
    return marks
