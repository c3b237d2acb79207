"""One endpoint: who answers now, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import charts, words
from lockgate.controlplane.web.charts import ACCENT, BAD, QUIET, SECOND, THIRD, Line
from lockgate.controlplane.web.drift import distribution, drift
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
    empty,
    headline,
    link,
    stat,
    stats,
    tone,
)
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Problem, Rest, part

_HOURS = {"0.25": "15 min", "1": "1 h", "6": "6 h", "24": "1 day", "168": "7 days"}
_KINDS = {
    "invalid_input": ("refused input", QUIET),
    "model_error": ("model errors", BAD),
    "invalid_output": ("invalid output", SECOND),
    "timeout": ("timeouts", THIRD),
    "shed": ("turned away", ACCENT),
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    name, feature = place.about, place.asked.get("feature", "")
    hours = place.asked.get("hours", "1") if place.asked.get("hours", "1") in _HOURS else "1"
    now = datetime.now(UTC)
    start = now - timedelta(hours=float(hours))
    url = f"/endpoints/{part(name)}"
    times = {"from": start.isoformat(), "to": now.isoformat()}
    endpoint, standing, monitoring, routes, picture = await asyncio.gather(
        rest.get(url),
        rest.get(f"{url}/standing"),
        rest.get(f"{url}/monitoring", **times),
        rest.items("/routes", limit=1),
        _distribution(rest, url, feature, times),
    )
    body: list[Node] = [
        headline(
            name,
            _hours(place, hours),
            trail=[("Fleet", "/"), (endpoint["model"], to("model", endpoint["model"])), (name, place.path)],
            acts=_acts(endpoint, me),
        ),
        _health(standing),
        _answering(endpoint, routes),
        _traffic(monitoring),
        *drift(monitoring["drift"], place, feature),
    ]
    if feature:
        body.append(distribution(picture, feature, place))
    body.append(_quality(monitoring["quality"], name))
    return Shown(title=name, body=body)


async def _distribution(rest: Rest, url: str, feature: str, times: dict[str, str]) -> Any:
    if not feature:
        return None
    try:
        return await rest.get(f"{url}/distributions", feature=feature, **times)
    except Problem as problem:
        return problem


def _acts(endpoint: dict[str, Any], me: dict[str, Any]) -> list[Act]:
    if not may(me, "operate", endpoint["environment"]) or not (endpoint["previous"] or endpoint["rollout"]):
        return []
    if endpoint["rollout"]:
        back = f"The rollout of {endpoint['candidate']} is aborted; {endpoint['stable']} answers everything"
    else:
        back = f"{endpoint['previous']} answers everything again instead of {endpoint['stable']}"
    return [
        Act(
            label="Roll back",
            url=f"/endpoints/{part(endpoint['id'])}/rollback",
            title=f"Roll back {endpoint['id']}",
            sentence=f"{back}, within a second and without losing a request.",
            danger=True,
            done="Rolled back.",
        )
    ]


def _hours(place: Place, chosen: str) -> Component:
    choices = [
        link(text, place.but(hours=hours), className="choice chosen" if hours == chosen else "choice")
        for hours, text in _HOURS.items()
    ]
    return html.Div(choices, className="choices", **attributes(aria_label="How far back"))


def _health(standing: dict[str, Any]) -> Component:
    titles = {
        "good": "Healthy",
        "watch": "Keep an eye on it",
        "bad": "Something is wrong",
        "quiet": "Quiet",
        "empty": "No version answers here",
    }
    beside: list[Node] = []
    if standing["open_incidents"]:
        beside.append(link("Open the incident", to("incident", standing["open_incidents"][0]), className="act"))
    if standing["on_its_way"]:
        beside.append(link("See the rollout", to("release", standing["on_its_way"]["release"]), className="act"))
    return banner(standing["health"], titles[standing["health"]], standing["sentence"], *beside)


def _answering(endpoint: dict[str, Any], routes: Sequence[dict[str, Any]]) -> Component:
    table: dict[str, Any] = routes[0] if routes else {"endpoints": [], "generation": 0, "reason": ""}
    route = next((one for one in table["endpoints"] if one["name"] == endpoint["id"]), None)
    if route is None:
        return card("Who answers", html.P("Nothing was promoted here yet.", className="hint"))
    parts: list[Node] = []
    targets: list[dict[str, Any]] = sorted(route["targets"], key=lambda one: -one["weight"])
    for target in targets:
        share = target["weight"] / 10_000
        told = {
            "live": f"answers {words.share(share)}",
            "shadow": f"shadow, is shown {words.share(share)}",
            "warm": "warm, ready to take over",
        }[target["role"]]
        kind = "coming" if target["role"] == "live" and target["version"] == endpoint["candidate"] else target["role"]
        bar = html.Div(
            html.Div(className=f"fill {kind}", style={"width": f"{share * 100:.2f}%"}), className="share-bar"
        )
        name = html.B(words.version(target["version"]), className="version")
        package = html.Code(words.short(target["package"]), title=target["package"])
        parts.append(html.Div([name, html.Span(told), bar, package], className="target"))
    return card(
        "Who answers",
        html.Div(parts, className="targets"),
        aside=chip(f"generation {table['generation']}", title=table["reason"]),
    )


def _traffic(monitoring: dict[str, Any]) -> Component:
    total = monitoring["total"]
    if total is None:
        return card(
            "Traffic",
            empty(
                "No requests in this time",
                "Choose a longer time above, or ask the endpoint for a prediction:",
                f"curl -H 'Authorization: Bearer TOKEN' GATEWAY/v2/models/{monitoring['endpoint']}/infer -d @rows.json",
            ),
        )
    rows = _rows(monitoring)
    kinds = [kind for kind in _KINDS if total["errors"].get(kind)]
    errors: Node = html.P("No request failed.", className="calm")
    if kinds:
        lines = [Line(key=kind, name=_KINDS[kind][0], colour=_KINDS[kind][1]) for kind in kinds]
        errors = charts.stacked(rows, lines, unit="count")
    per = "minute" if monitoring["span_minutes"] == 1 else words.span(monitoring["span_minutes"] * 60)
    latency = (
        Line(key="p50_ms", name="p50", colour=ACCENT),
        Line(key="p95_ms", name="p95", colour=SECOND),
        Line(key="p99_ms", name="p99", colour=THIRD),
    )
    requests = charts.over_time(rows, [Line(key="requests", name="requests", colour=ACCENT)], unit="count")
    bad = "bad" if total["error_share"] else ""
    return html.Div(
        [
            stats(
                stat("Requests", words.count(total["requests"]), hint=f"{words.count(total['rows'])} rows"),
                stat("Failed", words.share(total["error_share"]), hint="not counting refused input", tone=bad),
                stat("p50", words.milliseconds(total["p50_ms"]), hint="half are faster"),
                stat("p95", words.milliseconds(total["p95_ms"]), hint="95 of 100 are faster"),
                stat("p99", words.milliseconds(total["p99_ms"]), hint="99 of 100 are faster"),
            ),
            columns(
                card("Requests", requests, hint=f"per {per}"),
                card("Latency", charts.over_time(rows, latency, unit="ms"), hint="in the gateway"),
                card("Errors by kind", errors, hint=f"per {per}"),
                className="three",
            ),
        ],
        className="stack",
    )


def _rows(monitoring: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a span, also where nothing was counted: there the lines have a gap."""
    known = {words.epoch(point["at"]): point["traffic"] for point in monitoring["answered"]}
    step = monitoring["span_minutes"] * 60_000
    first = _floor(monitoring["start"])
    rows: list[dict[str, Any]] = []
    for at in range(first, words.epoch(monitoring["end"]) + 1, step):
        traffic = known.get(at)
        row: dict[str, Any] = {"t": at, "requests": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}
        if traffic is not None:
            row |= {key: traffic[key] for key in ("requests", "p50_ms", "p95_ms", "p99_ms")}
            row |= {kind: traffic["errors"].get(kind, 0) for kind in _KINDS}
        rows.append(row)
    if len(rows) > 2:
        # The span under way is not whole yet; drawn, it would look like a collapse.
        rows[-1] |= {"requests": None} | dict.fromkeys(_KINDS)
    return rows


def _floor(text: str) -> int:
    at: datetime = words.moment(text)
    return int(at.replace(second=0, microsecond=0).timestamp() * 1000)


def _quality(quality: dict[str, Any] | None, endpoint: str) -> Component:
    title = "Quality on labels"
    if quality is None or not quality["rows"]:
        return card(
            title,
            empty(
                "No labels in this time",
                "Bring the truth by prediction id whenever it is known; quality follows by itself:",
                f"lockgate label {endpoint} --file labels.csv",
            ),
        )
    limit = _limit(quality)
    rows = [{"t": words.epoch(point["at"]), "value": point["value"]} for point in quality["points"]]
    line = Line(key="value", name=quality["metric"], colour=ACCENT)
    return card(
        f"{title}: {words.plain(quality['metric'])}",
        html.P(quality["sentence"], className="sentence"),
        charts.over_time(rows, [line], unit="number", limit=limit, bridged=True),
        hint=f"{words.version(quality['version'])}, {words.many(quality['rows'], 'label')}",
        aside=badge(quality["verdict"]),
        className=tone(quality["verdict"]),
    )


def _limit(quality: dict[str, Any]) -> tuple[float, str] | None:
    if quality["at_least"] is not None:
        return quality["at_least"], "at least"
    return None if quality["at_most"] is None else (quality["at_most"], "at most")
