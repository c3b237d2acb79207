"""Drift on an endpoint's page: by feature over time, as a table, and one feature beside its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import charts, words
from lockgate.controlplane.web.charts import ACCENT, QUIET, Line
from lockgate.controlplane.web.pieces import Node, badge, card, empty, link, table, when
from lockgate.controlplane.web.places import Place
from lockgate.controlplane.web.rest import Problem

#: Features shown at once; the calm ones behind them fold away.
_FIRST = 15
_ORDER = {"fail": 0, "unknown": 1, "pass": 2}


def drift(picture: dict[str, Any] | None, place: Place, chosen: str) -> list[Node]:
    """The heat map and the table of features."""
    if picture is None:
        text = "The live version was packaged without training data, so there is nothing to compare with."
        return [card("Drift", empty("Drift is not watched", text))]
    if not any(span["rows"] for span in picture["spans"]):
        told = "Drift by feature shows here as soon as the endpoint is asked; choose a longer time above to look back."
        return [card("Drift", empty("No rows to compare in this time", told))]
    found = [*picture["predictions"], *picture["features"]]
    predicted = {item["feature"] for item in picture["predictions"]}
    found.sort(key=lambda item: (_ORDER[item["verdict"]], -(item["effect"] or {"distance": 0})["distance"]))
    return [_heat(picture, found, place), _features(picture, found, predicted, place, chosen)]


def _heat(picture: dict[str, Any], found: Sequence[dict[str, Any]], place: Place) -> Component:
    rows = {row["feature"]: row for row in picture["over_time"]}
    order = [item["feature"] for item in found] or list(rows)
    strips = [_strip(rows[name], picture["spans"], place) for name in order if name in rows]
    spans = picture["spans"]
    scale = html.Div(
        [when(spans[0]["start"]), html.Span("each cell is " + _length(spans[0])), when(spans[-1]["end"])],
        className="heat-scale",
    )
    body: list[Node] = [html.Div(strips[:_FIRST], className="heat")]
    if len(strips) > _FIRST:
        more = html.Summary(f"{len(strips) - _FIRST} more features")
        body.append(html.Details([more, html.Div(strips[_FIRST:], className="heat")]))
    legend = html.Div(
        [
            html.Span([html.I(className=f"key {name}"), html.Span(text)])
            for name, text in (
                ("x", "too little data"),
                ("l0", "as in training"),
                ("l2", "moved"),
                ("l3", "drifted"),
                ("l4", "drifted far"),
            )
        ],
        className="legend",
    )
    return card("Drift by feature over time", *body, scale, aside=legend, hint="distance from training")


def _length(span: dict[str, Any]) -> str:
    return words.span((words.moment(span["end"]) - words.moment(span["start"])).total_seconds())


def _strip(row: dict[str, Any], spans: Sequence[dict[str, Any]], place: Place) -> Component:
    cells: list[tuple[int, str]] = []
    for cell, span in zip(row["cells"], spans, strict=True):
        start = words.moment(span["start"]).strftime("%H:%M UTC")
        cells.append((charts.level(cell["verdict"], cell["distance"]), f"{start}: {cell['sentence']}"))
    return charts.heat(link(row["feature"], place.but(feature=row["feature"])), cells)


def _features(
    picture: dict[str, Any], found: Sequence[dict[str, Any]], predicted: set[str], place: Place, chosen: str
) -> Component:
    aside = badge(_name(picture["verdict"]), _WORDS[picture["verdict"]])
    length = words.moment(picture["end"]) - words.moment(picture["start"])
    window = f"in the last {words.span(length.total_seconds())}"
    told = html.P(
        [html.Span(picture["sentence"]), html.Span(" "), html.Span(window, className="hint")], className="sentence"
    )
    if not found:
        return card("Features", told, aside=aside)
    rows = [_row(item, item["feature"] in predicted, place, chosen) for item in found]
    heads = ("Feature", "Verdict", "Distance", "PSI", "Missing", "Never seen", "What happened")
    body: list[Node] = [told, table(heads, rows[:_FIRST], className="features")]
    if len(rows) > _FIRST:
        more = html.Summary(f"{len(rows) - _FIRST} more features")
        body.append(html.Details([more, table(heads, rows[_FIRST:], className="features")]))
    return card("Features", *body, aside=aside, hint="choose one to see its distribution")


_WORDS = {"pass": "no drift", "fail": "drifted", "unknown": "not enough data"}


def _row(item: dict[str, Any], prediction: bool, place: Place, chosen: str) -> list[Node]:
    effect = item["effect"]
    name: list[Node] = [
        link(
            item["feature"], place.but(feature=item["feature"]), className="chosen" if item["feature"] == chosen else ""
        )
    ]
    if prediction:
        name.append(html.Span("prediction", className="chip"))
    missing = words.share(item["missing_share"])
    before = item["missing_share_before"]
    if before is not None and item["missing_share"] is not None:
        missing = f"{missing} (was {words.share(before)})"
    never = item["outside"] + item["unseen"]
    share = words.share(never / item["rows"]) if item["rows"] else words.UNKNOWN
    return [
        html.Span(name),
        badge(_name(item["verdict"]), _WORDS[item["verdict"]]),
        html.Span(
            f"{effect['distance']:.3f}" if effect else "–",
            title="Kolmogorov-Smirnov distance; share that moved, for categories",
        ),
        html.Span(f"{effect['psi']:.3f}" if effect else "–", title="population stability index"),
        html.Span(missing),
        html.Span(share, title=f"{words.count(never)} rows outside the range, or of categories, of training"),
        html.Span(item["sentence"], className="sentence"),
    ]


def _name(verdict: str) -> str:
    # Drift calls a person; by itself it is no breakdown.
    return "watch" if verdict == "fail" else verdict


def distribution(found: Any, feature: str, place: Place) -> Component:
    """One feature as it is spread now, beside training."""
    close = link("Close", place.but(feature=""), className="act")
    if isinstance(found, Problem):
        return card(feature, empty(found.detail, found.hint), aside=close)
    rows = [{"t": bar["name"], "baseline": bar["baseline"], "now": bar["now"]} for bar in found["bars"]]
    lines = (Line(key="baseline", name="training", colour=QUIET), Line(key="now", name="now", colour=ACCENT))
    drifted = found["drift"]
    told: list[Node] = [html.P(drifted["sentence"], className="sentence")] if drifted else []
    outside = found["below"] + found["above"]
    length = words.moment(found["end"]) - words.moment(found["start"])
    numbers = (
        f"{words.count(found['rows_now'])} rows in the last {words.span(round(length.total_seconds()))}, "
        f"{words.count(found['rows_baseline'])} in training; {words.count(found['missing_now'])} missing"
    )
    if found["kind"] == "number":
        numbers += f"; {words.count(outside)} outside everything seen in training"
    return html.Div(
        card(
            f"{feature}: now beside training",
            *told,
            charts.bars(rows, lines, unit="share", height=240),
            html.P(numbers, className="hint"),
            aside=close,
            hint=found["version"],
        ),
        className="spotlight",
    )
