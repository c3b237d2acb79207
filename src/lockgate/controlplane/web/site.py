"""The Dash application behind the pages. Importing this takes a second, so it is done away from the start."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import dash_mantine_components as dmc
from dash import Dash, dcc, html, no_update
from dash.backends._fastapi import FastAPIDashServer
from dash.dependencies import ClientsideFunction, Input, Output, State
from dash.development.base_component import Component
from fastapi import FastAPI
from plotly.utils import PlotlyJSONEncoder
from starlette.types import ASGIApp

from lockgate.controlplane.web import places, shell
from lockgate.controlplane.web.pages import lost
from lockgate.controlplane.web.pieces import Shown
from lockgate.controlplane.web.rest import Problem, Rest

#: Milliseconds between two looks at a page.
EVERY = 2500
ASSETS = Path(__file__).parent / "assets"
_INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <title>{%title%}</title>
    <link rel="icon" type="image/svg+xml" href="/sign-in/mark.svg">
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>{%config%}{%scripts%}{%renderer%}</footer>
  </body>
</html>"""
_THEME: Any = {
    "fontFamily": "var(--font)",
    "fontFamilyMonospace": "var(--mono)",
    "primaryColor": "blue",
}


class _Server(FastAPIDashServer):
    """Dash on FastAPI without sockets that stay open, and without an API description of its own."""

    websocket_capability = False

    @staticmethod
    def create_app(name: str = "__main__", config: dict[str, Any] | None = None) -> FastAPI:
        return FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


def build(api: ASGIApp) -> tuple[ASGIApp, str]:
    """The application, and the sources of the inline scripts that its pages may run, for a content security policy.

    Args:
        api: what answers /api/v1.
    """
    app = Dash(
        "lockgate.pages",
        backend=_Server,
        assets_folder=str(ASSETS),
        serve_locally=True,
        compress=True,
        add_log_handler=False,
        suppress_callback_exceptions=True,
        title="Lockgate",
        update_title="",
        index_string=_INDEX,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "color-scheme", "content": "light dark"},
        ],
    )
    app.layout = _layout()
    rest = Rest(api)

    @app.callback(
        Output("fresh", "data"),
        Output("seen", "data"),
        Input("at", "pathname"),
        Input("at", "search"),
        Input("tick", "n_intervals"),
        Input("done", "data"),
        State("seen", "data"),
    )
    async def look(  # pyright: ignore[reportUnusedFunction]
        path: str | None, search: str | None, ticks: int | None, done: Any, seen: str | None
    ) -> tuple[Any, Any]:
        place = places.find(path or "/", search or "")
        fresh = await shown_at(rest, place)
        digest = hashlib.sha256(json.dumps(fresh, sort_keys=True).encode()).hexdigest()
        # A page that did not change is not sent: nothing flickers, nothing is drawn anew.
        return (no_update, no_update) if digest == seen else (fresh, digest)

    app.clientside_callback(
        ClientsideFunction(namespace="lockgate", function_name="apply"),
        Output("page", "children"),
        Input("fresh", "data"),
        prevent_initial_call=True,
    )
    return app.server, " ".join(app.csp_hashes())


def _layout() -> Component:
    return dmc.MantineProvider(
        [
            dcc.Location(id="at", refresh="callback-nav"),
            dcc.Interval(id="tick", interval=EVERY),
            dcc.Store(id="fresh"),
            dcc.Store(id="seen"),
            dcc.Store(id="done"),
            html.Div(id="page"),
        ],
        theme=_THEME,
        defaultColorScheme="auto",
    )


async def shown_at(rest: Rest, place: places.Place) -> dict[str, Any]:
    """A place's page as JSON; each component in it has an id by where it stands, so that it can be changed in place."""
    me: dict[str, Any] | None = None
    try:
        me = await rest.get("/me")
        module = import_module(f"lockgate.controlplane.web.pages.{place.page}")
        shown: Shown = await module.show(rest, place, me)
    except Problem as problem:
        shown = lost.refused(problem)
    tree = shell.around(shown, place, me)
    name(tree, "p")
    plain = json.loads(json.dumps(tree, cls=PlotlyJSONEncoder))
    return {"path": place.path, "title": f"{shown.title} · Lockgate", "live": shown.live, "tree": plain}


def name(node: Any, id: str) -> None:
    """Give every component below ``node`` an id by its place."""
    if isinstance(node, list | tuple):
        for index, child in enumerate(cast("list[Any]", node)):
            name(child, f"{id}-{index}")
    elif isinstance(node, Component):
        if getattr(node, "id", None) is None:
            node.id = id  # pyright: ignore[reportAttributeAccessIssue]
        name(getattr(node, "children", None), f"{id}-c")
