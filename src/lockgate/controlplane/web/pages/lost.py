"""An address that means nothing, and what the API refused."""

from __future__ import annotations

from typing import Any

from dash import html

from lockgate.controlplane.web.pieces import Shown, empty, headline, link
from lockgate.controlplane.web.places import Place
from lockgate.controlplane.web.rest import Problem, Rest

_TITLES = {403: "You may not see this", 404: "There is no such thing", 503: "Not available just now"}
_HINTS = {
    403: "Ask an administrator whether your role should.",
    404: "It may go by another name, or the link is from another installation.",
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page of an address that is none."""
    body = empty(
        "There is no such page", f"Nothing is at {place.path}. The address may be mistyped or from an old link."
    )
    return Shown(title="No such page", body=[headline("No such page"), body, _back()], live=False)


def refused(problem: Problem) -> Shown:
    """What the API refused, in its words."""
    title = _TITLES.get(problem.status, "Something went wrong")
    body = empty(problem.detail or title, problem.hint or _HINTS.get(problem.status, "The platform's log says more."))
    return Shown(title=title, body=[headline(title), body, _back()], live=problem.status >= 500)


def _back() -> Any:
    return html.P(link("Back to the fleet", "/"))
