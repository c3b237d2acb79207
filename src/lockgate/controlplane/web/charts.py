"""Charts, drawn the same way on every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import words
from lockgate.controlplane.web.pieces import attributes

HEIGHT = 190
#: Colours that people with any colour vision tell apart; the same thing has the same colour everywhere.
ACCENT, SECOND, THIRD, QUIET = "var(--accent)", "var(--second)", "var(--third)", "var(--ink-3)"
BAD = "var(--bad)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line or bar of a chart."""

    #: Key in the chart's rows, and what people call it.
    key: str
    name: str
    colour: str
    dashed: bool = False

    @property
    def series(self) -> Any:
        """As the chart takes it."""
        told: dict[str, Any] = {"name": self.key, "label": self.name, "color": self.colour}
        return told | ({"strokeDasharray": "5 4"} if self.dashed else {})


def over_time(
    rows: Sequence[Mapping[str, Any]],
    lines: Sequence[Line],
    *,
    unit: str,
    limit: tuple[float, str] | None = None,
    bridged: bool = False,
) -> Component:
    """Lines over time.

    Args:
        rows: with ``t`` in milliseconds, and a value or None for each line.
        unit: count, ms, share or number.
        limit: a value to draw across, and its name.
        bridged: draw over gaps, for figures that are not known in every span.
    """
    frame = _frame(unit, legend=len(lines) > 1, limit=limit)
    values = [row[line.key] for row in rows for line in lines if row.get(line.key) is not None]
    if unit == "share":
        # Without this a line at nought would stand before an axis up to some hundred percent.
        frame["yAxisProps"] |= {"domain": [0, max([*values, 0.008]) * 1.25]}
    elif unit == "number" and values:
        frame["yAxisProps"] |= _around([*values, *([limit[0]] if limit else [])])
    return dmc.LineChart(
        data=_plain(rows),
        series=[line.series for line in lines],
        curveType="monotone",
        withDots=bridged or _sparse(rows, lines),
        strokeWidth=2,
        connectNulls=bridged,
        lineChartProps={"syncId": "time"},
        lineProps={"isAnimationActive": False},
        **frame,
    )


def stacked(rows: Sequence[Mapping[str, Any]], lines: Sequence[Line], *, unit: str) -> Component:
    """Areas on top of one another over time."""
    return dmc.AreaChart(
        data=_plain(rows),
        series=[line.series for line in lines],
        type="stacked",
        curveType="monotone",
        withDots=_sparse(rows, lines),
        strokeWidth=1.5,
        fillOpacity=0.35,
        withGradient=False,
        areaChartProps={"syncId": "time"},
        areaProps={"isAnimationActive": False},
        **_frame(unit, legend=len(lines) > 1),
    )


def bars(rows: Sequence[Mapping[str, Any]], lines: Sequence[Line], *, unit: str, height: int = HEIGHT) -> Component:
    """Bars side by side; rows hold ``t``, the name under each."""
    frame = _frame(unit, legend=len(lines) > 1, height=height)
    frame["xAxisProps"] = {"interval": "preserveStartEnd", "minTickGap": 24, "tickMargin": 6}
    frame["tooltipProps"] = {"isAnimationActive": False}
    return dmc.BarChart(
        data=_plain(rows),
        series=[line.series for line in lines],
        barProps={"isAnimationActive": False, "radius": 1},
        barChartProps={"barGap": 0, "barCategoryGap": "12%"},
        **frame,
    )


def curve(points: Sequence[tuple[float, float]], *, x: str, y: str, even: str) -> Component:
    """A curve in the unit square, such as an ROC curve; ``even`` is what its diagonal means."""
    rows = [{"t": round(first, 3), "y": second, "even": first} for first, second in points]
    frame = _frame("number", legend=False)
    frame["xAxisProps"] = {"type": "number", "domain": [0, 1], "tickCount": 5}
    frame["yAxisProps"] = {"domain": [0, 1], "tickCount": 5, "width": 40}
    frame["tooltipProps"] = {"isAnimationActive": False}
    lines = [Line(key="y", name=y, colour=ACCENT), Line(key="even", name=even, colour=QUIET, dashed=True)]
    return dmc.LineChart(
        data=_plain(rows),
        series=[line.series for line in lines],
        curveType="linear",
        withDots=False,
        lineProps={"isAnimationActive": False},
        xAxisLabel=x,
        **frame,
    )


def spark(values: Sequence[float | None], *, title: str) -> Component:
    """A little picture of traffic, without axes."""
    known: Any = list(values)
    return html.Div(
        dmc.Sparkline(
            data=known,
            color=ACCENT,
            h=34,
            strokeWidth=1.6,
            fillOpacity=0.18,
            curveType="monotone",
            areaProps={"isAnimationActive": False},
        ),
        className="spark",
        title=title,
    )


def heat(name: Component, cells: Sequence[tuple[int, str]]) -> Component:
    """One row of a heat map: a level from 0 (calm) to 4 (drifted), or -1 for unknown, and what each cell says."""
    width = 100 / max(len(cells), 1)
    stops = ", ".join(
        f"var(--heat-{level if level >= 0 else 'x'}) {place * width:.3f}% {(place + 1) * width:.3f}%"
        for place, (level, _) in enumerate(cells)
    )
    strip = html.Div(
        className="strip",
        style={"backgroundImage": f"linear-gradient(to right, {stops})", "--cells": str(len(cells))},
        role="img",
        **attributes(
            aria_label=cells[-1][1] if cells else "", data_tips="\n".join(tip.replace("\n", " ") for _, tip in cells)
        ),
    )
    return html.Div([html.Div(name, className="name"), strip], className="heat-row")


def level(verdict: str, distance: float | None) -> int:
    """How hot a cell is: only what failed its test reaches the two highest."""
    if verdict == "unknown" or distance is None:
        return -1
    if verdict == "fail":
        return 4 if distance >= 0.2 else 3
    return 0 if distance < 0.05 else 1 if distance < 0.1 else 2


def _sparse(rows: Sequence[Mapping[str, Any]], lines: Sequence[Line]) -> bool:
    """Whether so little is known that lines alone would hardly show it: one point draws none at all."""
    return sum(any(row.get(line.key) is not None for line in lines) for row in rows) < 4


def _around(values: Sequence[float]) -> dict[str, Any]:
    """An axis that shows the differences; between 0 and 1 it has a line at each tenth."""
    low, high = min(values), max(values)
    if low >= 0 and high <= 1:
        start, stop = floor(low * 10 - 0.5) / 10, ceil(high * 10) / 10
        start = max(start, 0.0)
        return {"domain": [start, stop], "tickCount": round((stop - start) * 10) + 1}
    room = (high - low) * 0.4 or abs(high) * 0.1 or 1.0
    return {"domain": [low - room, high + room]}


def _plain(rows: Sequence[Mapping[str, Any]]) -> Any:
    return [dict(row) for row in rows]


def _frame(unit: str, *, legend: bool, limit: tuple[float, str] | None = None, height: int = HEIGHT) -> dict[str, Any]:
    formatter = {"function": unit}
    frame: dict[str, Any] = {
        "h": height,
        "dataKey": "t",
        "withLegend": legend,
        "legendProps": {"verticalAlign": "top", "height": 30},
        "gridAxis": "x",
        "tickLine": "none",
        "strokeDasharray": "2 4",
        "valueFormatter": formatter,
        "xAxisProps": {"tickFormatter": {"function": "clock"}, "minTickGap": 48, "tickMargin": 6},
        "yAxisProps": {"width": 62, "tickCount": 5},
        "tooltipProps": {"labelFormatter": {"function": "clock"}, "isAnimationActive": False},
        "tooltipAnimationDuration": 0,
    }
    if limit is not None:
        value, told = limit
        frame["referenceLines"] = [{"y": value, "label": f"{told} {words.figure(value)}", "color": BAD}]
    return frame
