"""The ledger: who changed what, and why, with the proof that nobody touched it since."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import words
from lockgate.controlplane.web.pieces import Node, Shown, banner, card, chip, empty, headline, link, table, when
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest

_PAGES = {
    "model": "model",
    "promotion": "promotion",
    "release": "release",
    "endpoint": "endpoint",
    "incident": "incident",
    "job": "job",
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    asked = {name: place.asked[name] for name in ("after", "actor", "action", "subject") if name in place.asked}
    page = await rest.get("/audit/entries", limit=30, **asked)
    verify = link("Verify the ledger", place.but(verify="1"), className="act")
    body: list[Node] = [headline("Ledger", html.Span("every change, newest first", className="hint"), verify)]
    proving = place.asked.get("verify") == "1"
    if proving:
        body.append(_proof(await rest.get("/audit/verify")))
    filters = [
        link(chip(f"{name}: {value} ✕", title="stop looking for this alone"), place.but(**{name: ""}))
        for name, value in asked.items()
        if name != "after"
    ]
    if filters:
        body.append(html.Div(filters, className="chips"))
    if not page["items"]:
        body.append(empty("No entry", "Nothing was changed yet, or nothing that you look for."))
    else:
        body.append(card("Entries", _entries(page["items"], place)))
    if page["next"]:
        body.append(html.P(link("Older entries", place.but(after=page["next"], verify=""))))
    # Proving walks the whole chain, so it is done once for each time somebody asks.
    return Shown(title="Ledger", under="audit", body=body, live=not proving)


def _proof(proof: dict[str, Any]) -> Component:
    if not proof["proved"]:
        return banner("bad", "The ledger does not prove itself", proof["sentence"])
    told = html.Span(
        [
            html.Span(f"{proof['sentence']}; the last hash is "),
            html.Code(words.short(proof["head"]), title=proof["head"]),
        ]
    )
    return banner("good", f"All {words.many(proof['entries'], 'entry').replace('entrys', 'entries')} proved", told)


def _entries(entries: list[dict[str, Any]], place: Place) -> Component:
    rows: list[list[Node]] = []
    for entry in entries:
        rows.append(
            [
                html.Span(f"{entry['seq']:,}", className="hint"),
                when(entry["at"]),
                link(entry["actor"], place.but(actor=entry["actor"], after="", verify="")),
                link(
                    words.plain(entry["action"]),
                    place.but(action=entry["action"], after="", verify=""),
                    className="chip",
                ),
                _subject(entry["subject"]),
                html.Span(entry["reason"], className="sentence"),
                html.Code(words.short(entry["hash"]), title=entry["hash"]),
            ]
        )
    return table(("No.", "When", "Who", "What", "Of", "Why", "Hash"), rows)


def _subject(subject: str) -> Component:
    kind, _, id = subject.partition("/")
    if kind in _PAGES and id:
        return link(id, to(_PAGES[kind], id), title=kind)
    return html.Span(id or subject, title=kind)
