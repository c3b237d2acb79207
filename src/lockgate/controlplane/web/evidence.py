"""What the gates found, as cards: the sentence first, then the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import charts, words
from lockgate.controlplane.web.charts import ACCENT, QUIET, Line
from lockgate.controlplane.web.pieces import Node, attributes, badge, card, chip, facts, tone

#: Figures that say what was asked, in the order in which they are looked for.
_LIMITS = ("limit", "at_least", "at_most", "margin", "p99_ms_limit")
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
        aside=badge(report["verdict"], f"{passed} of {len(results)} gates pass"),
    )


def _gate(result: Mapping[str, Any]) -> Component:
    figures: dict[str, Any] = result["figures"]
    name = result["gate"] if result["name"] in ("", result["gate"]) else f"{result['gate']} · {result['name']}"
    told: list[Node] = [
        html.Div([html.H3(name), badge(result["verdict"])], className="gate-head"),
        html.P(result["sentence"], className="sentence"),
    ]
    if result["hint"]:
        told.append(html.P(result["hint"], className="hint"))
    scale = _against_limit(figures)
    drawn = {"value", "low", "high", *_LIMITS} if scale else set[str]()
    told += scale
    picture = _picture(figures)
    if picture is not None:
        told.append(picture)
    small = [
        chip(f"{words.plain(key)} {words.figure(value)}")
        for key, value in figures.items()
        if _small(value) and key not in drawn
    ]
    if small:
        told.append(html.Div(small, className="chips"))
    return html.Article(told, className=f"gate {tone(result['verdict'])}")


def _small(value: Any) -> bool:
    return isinstance(value, int | float | bool) or (isinstance(value, str) and 0 < len(value) <= 40)


def _against_limit(figures: Mapping[str, Any]) -> list[Node]:
    """The figure on a scale with its interval and its limit."""
    value, limit = (
        _number(figures.get("value")),
        next(filter(None, (_number(figures.get(key)) for key in _LIMITS)), None),
    )
    if value is None or limit is None:
        return []
    found = [_number(figures.get(key)) for key in ("low", "high")]
    low, high = (value if end is None else end for end in found)
    ends = [value, limit, low, high]
    start, stop = min(ends), max(ends)
    room = (stop - start) * 0.15 or abs(stop) * 0.05 or 1.0
    start, stop = start - room, stop + room
    if min(ends) >= 0 and max(ends) <= 1:
        start, stop = max(start, 0.0), min(stop, 1.0)

    def place(at: float) -> str:
        return f"{(at - start) / (stop - start) * 100:.1f}%"

    interval = html.Span(
        className="interval",
        style={"left": place(low), "width": f"{(high - low) / (stop - start) * 100:.1f}%"},
    )
    return [
        html.Div(
            [
                html.Div(
                    [
                        interval,
                        html.Span(className="mark", style={"left": place(value)}),
                        html.Span(className="limit", style={"left": place(limit)}),
                    ],
                    className="scale",
                    role="img",
                    **attributes(aria_label=f"{words.figure(value)} against {words.figure(limit)}"),
                ),
                html.Div(
                    [html.B(words.figure(value)), html.Span(f"limit {words.figure(limit)}", className="hint")],
                    className="scale-words",
                ),
            ],
            className="against",
        )
    ]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _picture(figures: Mapping[str, Any]) -> Component | None:
    """A curve or bars, where the figures hold some."""
    roc = figures.get("roc") or figures.get("roc_curve")
    points = _points(roc)
    if points:
        return charts.curve(points, x="false positives", y="true positives")
    slices = figures.get("slices")
    rows = _slices(slices)
    if rows:
        lines = [Line(key="value", name="this version", colour=ACCENT)]
        if any(row.get("champion") is not None for row in rows):
            lines.append(Line(key="champion", name="live version", colour=QUIET))
        return charts.bars(rows, lines, unit="number", height=160)
    return None


def _points(roc: Any) -> list[tuple[float, float]]:
    if isinstance(roc, Mapping):
        told = cast("Mapping[str, Sequence[float]]", roc)
        if "fpr" in told and "tpr" in told:
            return list(zip(told["fpr"], told["tpr"], strict=False))
    if isinstance(roc, list):
        pairs = cast("list[Any]", roc)
        return [(float(pair[0]), float(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]
    return []


def _slices(slices: Any) -> list[dict[str, Any]]:
    if isinstance(slices, Mapping):
        told = cast("Mapping[str, Any]", slices)
        return [{"t": name, **_slice(value)} for name, value in told.items()]
    if isinstance(slices, list):
        items = cast("list[Any]", slices)
        return [
            {"t": str(item.get("slice") or item.get("name") or item.get("group")), **_slice(item)}
            for item in items
            if isinstance(item, dict)
        ]
    return []


def _slice(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        told = cast("Mapping[str, Any]", value)
        return {"value": told.get("value"), "champion": told.get("champion")}
    return {"value": value}
