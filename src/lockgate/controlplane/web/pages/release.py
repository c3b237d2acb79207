"""One release: the verdict, its evidence, its rollout, and the canary beside the stable version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import charts, words
from lockgate.controlplane.web.charts import ACCENT, SECOND, Line
from lockgate.controlplane.web.evidence import evidence
from lockgate.controlplane.web.may import may
from lockgate.controlplane.web.pages.promotion import people, shouted
from lockgate.controlplane.web.pieces import (
    Act,
    Node,
    Shown,
    attributes,
    badge,
    banner,
    card,
    columns,
    empty,
    headline,
    link,
    table,
    when,
)
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest, part

_TITLES = {
    "scheduled": "The rollout has its time still to come",
    "running": "The rollout is under way",
    "holding": "The rollout waits",
    "completed": "Fully rolled out",
    "aborted": "Aborted: the stable version answers everything",
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    release = await rest.get(f"/releases/{part(place.about)}")
    rollout, comparison, report, promotion = await asyncio.gather(
        rest.get(f"/rollouts/{part(release['rollout'])}"),
        rest.maybe(f"/rollouts/{part(release['rollout'])}/comparison"),
        rest.maybe(f"/reports/{part(release['report'])}"),
        rest.maybe(f"/promotions/{part(release['promotion'])}"),
    )
    name = f"{release['model']} {words.version(release['version'])}"
    phase = "holding" if rollout["paused"] and rollout["phase"] == "running" else rollout["phase"]
    body: list[Node] = [
        headline(
            f"{name} in {release['environment']}",
            html.Span(["released ", when(release["created_at"])], className="hint"),
            trail=[("Fleet", "/"), (release["model"], to("model", release["model"])), ("release", place.path)],
            acts=_acts(rollout, me),
        ),
        banner(
            phase,
            _TITLES[phase],
            rollout["reason"],
            link("Watch the endpoint", to("endpoint", release["endpoint"]), className="act"),
        ),
        *(shouted(promotion) if promotion is not None else []),
        _steps(rollout),
    ]
    if rollout["stable"] and rollout["strategy"]["steps"]:
        body += [_guards(rollout), *_compared(comparison, rollout)]
    if promotion is not None:
        body.append(people(promotion))
    body.append(evidence(report))
    return Shown(title=f"{name} in {release['environment']}", body=body)


def _acts(rollout: dict[str, Any], me: dict[str, Any]) -> list[Act]:
    if rollout["phase"] in ("completed", "aborted") or not may(me, "operate", rollout["environment"]):
        return []
    url = f"/rollouts/{part(rollout['id'])}"
    held = rollout["paused"] or rollout["phase"] == "holding"
    hold = Act(
        label="Continue" if held else "Pause",
        url=f"{url}/continue" if held else f"{url}/pause",
        title=f"{'Continue' if held else 'Pause'} the rollout of {rollout['candidate']}",
        sentence="Its guards go on judging and may still abort it."
        if not held
        else "It goes on with the step it is on, once its guards have evidence.",
        done="Told.",
    )
    abort = Act(
        label="Abort",
        url=f"{url}/abort",
        title=f"Abort the rollout of {rollout['candidate']}",
        sentence=f"{rollout['stable'] or 'Nothing'} answers all requests again within a second.",
        danger=True,
        done="Aborted.",
    )
    return [hold, abort]


def _steps(rollout: dict[str, Any]) -> Component:
    steps = rollout["strategy"]["steps"]
    if not steps:
        text = "All at once: this environment asks for no steps, or nothing answered here before."
        return card("Rollout", html.P(text, className="hint"))
    over, current = rollout["phase"] in ("completed", "aborted"), rollout["step"]
    items: list[Node] = []
    for index, step in enumerate(steps):
        done = rollout["phase"] == "completed" or index < current
        here = index == current and rollout["phase"] not in ("completed", "scheduled")
        state = "done" if done else "here" if here else "ahead"
        if here and rollout["phase"] == "aborted":
            state = "broken"
        sign = {"done": "✓", "here": str(index + 1), "broken": "✕", "ahead": str(index + 1)}[state]
        name, time = _plan(step, rollout["weight"] if here and not over else None)
        told: list[Node] = [html.Div(name, className="step-name"), html.Div(time, className="hint")]
        if here and not over:
            told.append(html.Div(when(rollout["step_started_at"], word="since"), className="hint"))
        mark = html.Span(sign, className="mark")
        items.append(
            html.Li([mark, html.Div(told)], className=state, **(attributes(aria_current="step") if here else {}))
        )
    done = rollout["phase"] == "completed"
    last = [
        html.Div("All of the traffic", className="step-name"),
        html.Div(when(rollout["finished_at"]) if done else "", className="hint"),
    ]
    items.append(
        html.Li(
            [html.Span("✓" if done else "●", className="mark"), html.Div(last)], className="done" if done else "ahead"
        )
    )
    return card("Rollout", html.Ol(items, className="steps"))


def _plan(step: dict[str, Any], weight: int | None) -> tuple[str, str]:
    """What a step shows the candidate, and how long."""
    share, asked = words.share((step["weight"] if weight is None else weight) / 10_000), step["experiment"]
    time = "until a person continues" if step["manual"] else f"at least {words.span(step['seconds'])}"
    if asked:
        name = f"Experiment on {asked['metric']}, {share} of the traffic"
        return name, f"until one wins, {words.span(step['seconds'])} at most"
    names = {"shadow": f"Shadow, {share} of requests copied", "preview": "Preview, for requests by its number"}
    return names.get(step["kind"], f"{share} of the traffic"), time


def _guards(rollout: dict[str, Any]) -> Component:
    judgements = rollout["judgements"]
    if not judgements:
        return card(
            "Guards", html.P("Nothing was judged yet: the first look comes with the first requests.", className="hint")
        )
    rows: list[list[Node]] = [
        [html.B(words.plain(told["name"])), badge(told["verdict"]), html.Span(told["sentence"], className="sentence")]
        for told in judgements
    ]
    return card(
        "Guards", table(("Guard", "Verdict", "Why"), rows), hint="the canary against the stable version beside it"
    )


def _compared(comparison: dict[str, Any] | None, rollout: dict[str, Any]) -> list[Node]:
    ours, theirs = words.version(rollout["candidate"]), words.version(rollout["stable"])
    lines = (
        Line(key="candidate", name=f"{ours} canary", colour=SECOND),
        Line(key="stable", name=f"{theirs} stable", colour=ACCENT),
    )
    if comparison is None or not comparison["minutes"]:
        body = empty(
            "No requests yet", f"Both versions are shown here side by side as soon as {rollout['endpoint']} is asked."
        )
        return [card("Canary beside stable", body)]
    minutes = comparison["minutes"]
    return [
        _sides(comparison, ours, theirs),
        columns(
            card("Requests", charts.over_time(_series(minutes, "requests"), lines, unit="count"), hint="per minute"),
            card(
                "Errors",
                charts.over_time(_series(minutes, "error_share"), lines, unit="share"),
                hint="share of requests that failed",
            ),
            card("Latency", charts.over_time(_series(minutes, "p95_ms"), lines, unit="ms"), hint="p95, in each minute"),
            card(
                "Scores",
                _scores(comparison, lines),
                hint="share of rows by predicted score",
                aside=_distance(comparison["score_distance"]),
            ),
            className="two",
        ),
    ]


def _sides(comparison: dict[str, Any], ours: str, theirs: str) -> Component:
    rows: list[list[Node]] = []
    for name, side in ((f"{ours} canary", comparison["candidate"]), (f"{theirs} stable", comparison["stable"])):
        if side is None:
            rows.append([html.B(name), *(html.Span(words.UNKNOWN, className="unknown") for _ in range(5))])
            continue
        errors = ", ".join(f"{words.count(count)} {words.plain(kind)}" for kind, count in side["errors"].items())
        rows.append(
            [
                html.B(name),
                html.Span(side["role"]),
                html.Span(words.count(side["requests"])),
                html.Span(words.share(side["error_share"]), title=errors or "none"),
                html.Span(words.milliseconds(side["p50_ms"])),
                html.Span(words.milliseconds(side["p95_ms"])),
            ]
        )
    hint = "over the whole rollout" if comparison["phase"] in ("completed", "aborted") else "since this step began"
    return card("Canary beside stable", table(("Version", "Role", "Requests", "Errors", "p50", "p95"), rows), hint=hint)


def _series(minutes: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return [
        {
            "t": words.epoch(minute["at"]),
            "candidate": minute["candidate"][key] if minute["candidate"] else None,
            "stable": minute["stable"][key] if minute["stable"] else None,
        }
        for minute in minutes
    ]


def _scores(comparison: dict[str, Any], lines: Sequence[Line]) -> Component:
    edges = comparison["score_edges"]
    if not edges:
        return empty("Nothing to compare yet", "It takes answers of both versions, scored on the same scale.")
    rows = [
        {"t": f"{edges[index]:.2f}", "candidate": ours, "stable": theirs}
        for index, (ours, theirs) in enumerate(
            zip(comparison["candidate_scores"], comparison["stable_scores"], strict=True)
        )
    ]
    return charts.bars(rows, lines, unit="share")


def _distance(distance: float | None) -> Component:
    text = "distance unknown" if distance is None else f"distance {distance:.3f}"
    return html.Span(
        text, className="chip", title="Kolmogorov-Smirnov distance: 0 is the same, 1 has nothing in common"
    )
