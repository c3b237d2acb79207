"""The figures of a gate, drawn: against their limit, as curves, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import charts, words
from lockgate.controlplane.web.charts import ACCENT, Line
from lockgate.controlplane.web.pieces import Node, attributes, badge, table

#: A figure, the limit it is held to, and whether that is the figure's negative: a regression may lose its margin.
_HELD = (("value", "limit", 1.0), ("difference", "margin", -1.0), ("p99_ms", "limit_ms", 1.0))
#: Figures that the scale shows already.
DRAWN = frozenset({"low", "high", *(name for names in _HELD for name in names[:2])})
#: Groups shown at once.
_MOST_GROUPS = 12


def against_limit(figures: Mapping[str, Any]) -> list[Node]:
    """The figure on a scale with its interval and its limit; nothing where it has none."""
    for name, bound, sign in _HELD:
        value, limit = _number(figures.get(name)), _number(figures.get(bound))
        if value is not None and limit is not None:
            low, high = (_number(figures.get(end)) for end in ("low", "high"))
            unit = " ms" if name == "p99_ms" else ""
            return [_scale(value, limit * sign, value if low is None else low, value if high is None else high, unit)]
    return []


def pictures(figures: Mapping[str, Any]) -> list[Node]:
    """Every curve and table that the figures hold."""
    drawn: list[Node] = []
    roc = _pairs(figures.get("roc"))
    if roc:
        drawn.append(_titled("ROC", charts.curve(roc, x="false positives", y="true positives", even="chance")))
    calibration = [(row["predicted"], row["observed"]) for row in _dicts(figures.get("calibration"))]
    if calibration:
        drawn.append(
            _titled("Calibration", charts.curve(calibration, x="predicted share", y="observed share", even="perfect"))
        )
    deciles = _pairs(figures.get("predicted_against_true"))
    if deciles:
        rows = [{"t": words.figure(x), "predicted": x, "true": y} for x, y in deciles]
        lines = (
            Line(key="predicted", name="predicted", colour=ACCENT),
            Line(key="true", name="true", colour=charts.SECOND),
        )
        drawn.append(_titled("Means by tenth of the predictions", charts.bars(rows, lines, unit="number", height=170)))
    confusion = figures.get("confusion")
    if isinstance(confusion, dict):
        drawn.append(_confusion(cast("dict[str, int]", confusion)))
    quantiles = figures.get("quantiles_ms")
    if isinstance(quantiles, list) and len(cast("list[Any]", quantiles)) > 1:
        drawn.append(_quantiles(cast("list[float]", quantiles)))
    groups = _dicts(figures.get("slices"))
    if groups:
        drawn.append(_groups(groups))
    return drawn


def _titled(title: str, picture: Component) -> Component:
    return html.Figure([html.Figcaption(title), picture])


def _scale(value: float, limit: float, low: float, high: float, unit: str) -> Component:
    ends = [value, limit, low, high]
    start, stop = min(ends), max(ends)
    room = (stop - start) * 0.15 or abs(stop) * 0.05 or 1.0
    bounded = start >= 0 and stop <= 1 and not unit
    start, stop = start - room, stop + room
    if bounded:
        start, stop = max(start, 0.0), min(stop, 1.0)
    width = stop - start

    def place(at: float) -> str:
        return f"{(at - start) / width * 100:.1f}%"

    interval = {"left": place(low), "width": f"{(high - low) / width * 100:.1f}%"}
    marks = [
        html.Span(className="interval", style=interval),
        html.Span(className="mark", style={"left": place(value)}),
        html.Span(className="limit", style={"left": place(limit)}),
    ]
    told = f"{words.figure(value)}{unit} against {words.figure(limit)}{unit}"
    return html.Div(
        [
            html.Div(marks, className="scale", role="img", **attributes(aria_label=told)),
            html.Div(
                [html.B(words.figure(value) + unit), html.Span(f"limit {words.figure(limit)}{unit}", className="hint")],
                className="scale-words",
            ),
        ],
        className="against",
    )


def _confusion(counts: Mapping[str, int]) -> Component:
    def cell(name: str) -> Component:
        return html.Span(words.count(counts.get(name)))

    rows: list[list[Node]] = [
        [html.B("truly yes"), cell("true_positive"), cell("false_negative")],
        [html.B("truly no"), cell("false_positive"), cell("true_negative")],
    ]
    return _titled("Confusion", table(("", "said yes", "said no"), rows, className="small"))


def _quantiles(quantiles: Sequence[float]) -> Component:
    last = len(quantiles) - 1
    rows = [{"t": f"{index * 100 / last:.0f} %", "ms": value} for index, value in enumerate(quantiles)]
    line = Line(key="ms", name="latency", colour=ACCENT)
    return _titled("Latency, by share of the calls", charts.over_time(rows, [line], unit="ms"))


def _groups(groups: Sequence[Mapping[str, Any]]) -> Component:
    """Groups, those that do worst first."""
    worst = {"fail": 0, "unknown": 1}
    ordered = sorted(groups, key=lambda group: (worst.get(group.get("verdict", "pass"), 2), _size(group)))
    rows: list[list[Node]] = []
    for group in ordered[:_MOST_GROUPS]:
        named = f"{group['column']} = {group['group']}" if "column" in group else str(group.get("group", ""))
        size = group.get("value", group.get("difference"))
        told = html.Span(words.figure(size), title=str(group.get("sentence", "")))
        rows.append(
            [html.Span(named), html.Span(words.count(group.get("rows"))), told, badge(group.get("verdict", "pass"))]
        )
    figure = "Value" if any("value" in group for group in groups) else "Difference"
    made = table(("Group", "Rows", figure, ""), rows, className="small")
    more = len(groups) - _MOST_GROUPS
    return html.Div([made, html.Div(f"and {more} more groups" if more > 0 else "", className="hint")])


def _size(group: Mapping[str, Any]) -> float:
    return _number(group.get("value", group.get("difference"))) or 0.0


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _pairs(told: Any) -> list[tuple[float, float]]:
    items = cast("list[Any]", told) if isinstance(told, list) else []
    return [
        (float(pair[0]), float(pair[1]))
        for pair in items
        if isinstance(pair, list) and len(cast("list[Any]", pair)) == 2
    ]


def _dicts(told: Any) -> list[dict[str, Any]]:
    items = cast("list[Any]", told) if isinstance(told, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
