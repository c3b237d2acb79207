"""The bricks that every page is built of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from lockgate.controlplane.web import words

Node = Component | str
#: What a verdict or a health looks like: a class for its colour, and a sign for those who do not see it.
_TONES = {
    "pass": ("good", "✓"),
    "fail": ("bad", "✕"),
    "unknown": ("quiet", "?"),
    "good": ("good", "✓"),
    "watch": ("warn", "!"),
    "bad": ("bad", "✕"),
    "quiet": ("quiet", "–"),
    "empty": ("quiet", "–"),
    "open": ("bad", "✕"),
    "acknowledged": ("warn", "!"),
    "mitigated": ("warn", "!"),
    "resolved": ("good", "✓"),
    "closed": ("good", "✓"),
    "released": ("good", "✓"),
    "completed": ("good", "✓"),
    "ready": ("good", "✓"),
    "running": ("busy", "▸"),
    "gating": ("busy", "▸"),
    "packaging": ("busy", "▸"),
    "scheduled": ("quiet", "…"),
    "queued": ("quiet", "…"),
    "parked": ("warn", "!"),
    "done": ("good", "✓"),
    "holding": ("warn", "!"),
    "awaiting_approval": ("warn", "!"),
    "aborted": ("bad", "✕"),
    "refused": ("bad", "✕"),
    "rejected": ("bad", "✕"),
    "failed": ("bad", "✕"),
    "revoked": ("bad", "✕"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One page: its title in the browser's tab, and what is on it."""

    title: str
    body: Sequence[Node]
    #: Which entry of the navigation it belongs to.
    under: str = "fleet"
    #: Whether it is looked at again every few seconds.
    live: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """Something a person may do from a page; the browser asks them for a reason and sends it to the API."""

    label: str
    #: Path under /api/v1 that it is posted to, and what is sent beside the reason.
    url: str
    title: str
    sentence: str
    #: Name of the field that the person fills in.
    field: str = "reason"
    asks: str = "Why? It goes into the ledger."
    more: Mapping[str, Any] | None = None
    danger: bool = False
    done: str = "Done."


def attributes(**told: Any) -> dict[str, Any]:
    """Attributes whose names have a dash: ``data_act`` becomes ``data-act``."""
    return {name.replace("_", "-"): value for name, value in told.items()}


def tone(name: str) -> str:
    """The colour class of a verdict, a health or a state."""
    return _TONES.get(name, ("quiet", "•"))[0]


def badge(name: str, text: str = "", *, title: str = "") -> Component:
    """A verdict, health or state: colour, sign and word."""
    colour, sign = _TONES.get(name, ("quiet", "•"))
    return html.Span(
        [html.Span(sign, className="sign", **attributes(aria_hidden="true")), html.Span(text or words.plain(name))],
        className=f"badge {colour}",
        title=title,
    )


def chip(text: str, *, title: str = "", className: str = "") -> Component:
    """A small fact."""
    return html.Span(text, className=f"chip {className}".strip(), title=title)


def when(text: str | None, *, word: str = "") -> Component:
    """A time: the browser shows how long ago it is, and the exact time on hover."""
    if not text:
        return html.Span("–")
    at = words.moment(text)
    exact = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return html.Time(exact, dateTime=at.isoformat(), title=exact, className="when", **attributes(data_word=word))


def link(text: Node, href: str, *, className: str = "", title: str = "") -> Component:
    """A link to another page."""
    return dcc.Link(text, href=href, className=className, title=title)


def card(title: str, *children: Node, aside: Node | None = None, hint: str = "", className: str = "") -> Component:
    """A part of a page."""
    head: list[Node] = [html.H2(title)]
    if hint:
        head.append(html.Span(hint, className="hint"))
    if aside is not None:
        head.append(html.Div(aside, className="aside"))
    return html.Section([html.Header(head), *children], className=f"card {className}".strip())


def stat(label: str, value: str, *, hint: str = "", tone: str = "") -> Component:
    """A figure that is read from afar."""
    known = "" if value != words.UNKNOWN else "unknown"
    return html.Div(
        [
            html.Div(label, className="label"),
            html.Div(value, className=f"value {tone} {known}".strip()),
            html.Div(hint, className="hint"),
        ],
        className="stat",
    )


def stats(*figures: Component) -> Component:
    """Figures in a row."""
    return html.Div(list(figures), className="stats")


def facts(pairs: Sequence[tuple[str, Node]]) -> Component:
    """Names and what they are."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs], className="facts")


def columns(*children: Node, className: str = "") -> Component:
    """Parts side by side where there is room."""
    return html.Div(list(children), className=f"columns {className}".strip())


def table(heads: Sequence[str], rows: Sequence[Sequence[Node]], *, className: str = "") -> Component:
    """A table that scrolls by itself on a small screen."""
    head = html.Thead(html.Tr([html.Th(name) for name in heads]))
    body = html.Tbody([html.Tr([_cell(cell) for cell in row]) for row in rows])
    return html.Div(html.Table([head, body]), className=f"table {className}".strip())


def _cell(cell: Node) -> Component:
    # Each component costs the browser time, and tables have many: a span becomes the cell itself.
    if not isinstance(cell, html.Span) or getattr(cell, "className", "").startswith(("badge", "chip")):
        return html.Td(cell)
    told = {name: getattr(cell, name, None) for name in ("children", "className", "title")}
    return html.Td(**{name: value for name, value in told.items() if value is not None})


def empty(title: str, sentence: str, *commands: str) -> Component:
    """Nothing is here yet, and what to do about it."""
    told: list[Node] = [html.H3(title), html.P(sentence)]
    if commands:
        told.append(html.Pre(html.Code("\n".join(commands))))
    return html.Div(told, className="empty")


def button(act: Act) -> Component:
    """What a person may do; the browser's own dialog asks for the reason."""
    told = {
        "url": f"/api/v1{act.url}",
        "title": act.title,
        "sentence": act.sentence,
        "field": act.field,
        "asks": act.asks,
        "more": dict(act.more or {}),
        "label": act.label,
        "danger": act.danger,
        "done": act.done,
    }
    return html.Button(
        act.label,
        type="button",
        className=f"act {'danger' if act.danger else ''}".strip(),
        **attributes(data_act=json.dumps(told)),
    )


def headline(title: Node, *beside: Node, trail: Sequence[tuple[str, str]] = (), acts: Sequence[Act] = ()) -> Component:
    """The top of a page: where one is, what it is about, what one may do."""
    crumbs: list[Node] = []
    for text, href in trail:
        crumbs += [link(text, href), html.Span("/", className="slash")]
    return html.Div(
        [
            html.Nav(crumbs[:-1], className="trail", **attributes(aria_label="Where you are")),
            html.Div(
                [
                    html.H1(title),
                    html.Div(list(beside), className="beside"),
                    html.Div([button(act) for act in acts], className="acts"),
                ],
                className="row",
            ),
        ],
        className="headline",
    )


def banner(name: str, title: str, sentence: Node = "", *beside: Node) -> Component:
    """The one thing to know about a page, large."""
    colour, sign = _TONES.get(name, ("quiet", "•"))
    return html.Div(
        [
            html.Span(sign, className="sign", **attributes(aria_hidden="true")),
            html.Div([html.Strong(title), html.Div(sentence)]),
            html.Div(list(beside), className="aside"),
        ],
        className=f"banner {colour}",
        role="status",
    )
