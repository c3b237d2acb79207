"""What broke, and what is done about it: alerts, incidents, incident show, ack, note, resolve."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli.asking import AsJson, Limit, Reason, client, first
from lockgate.cli.console import give_fields, give_json, give_table, moment

Which = Annotated[str, typer.Argument(help="The incident's id; `lockgate incidents` lists them.")]
OfEndpoint = Annotated[str | None, typer.Option("--endpoint", help="Only this endpoint's.")]

incident = typer.Typer(help="Work on one incident.", no_args_is_help=True)


def alerts(
    ctx: typer.Context,
    endpoint: OfEndpoint = None,
    state: Annotated[str | None, typer.Option(help="open or closed.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest first."""
    with client(ctx) as asked:
        found = first(asked.alerts(endpoint=endpoint, state=state), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            each["endpoint"],
            each["version"],
            each["kind"],
            each["state"],
            moment(each["last_at"]),
            each["sentence"],
        )
        for each in found
    ]
    give_table(("alert", "endpoint", "version", "kind", "state", "last", ""), rows, empty="no alerts")


def incidents(
    ctx: typer.Context,
    endpoint: OfEndpoint = None,
    state: Annotated[str | None, typer.Option(help="open, acknowledged, mitigated or resolved.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List incidents, newest first."""
    with client(ctx) as asked:
        found = first(asked.incidents(endpoint=endpoint, state=state), limit)
    if as_json:
        give_json(found)
        return
    rows = [(each["id"], each["endpoint"], each["state"], moment(each["opened_at"]), each["title"]) for each in found]
    give_table(("incident", "endpoint", "state", "since", "title"), rows, empty="no incidents")


@incident.command()
def show(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """Show an incident with its timeline."""
    with client(ctx) as asked:
        _give(asked.incident(which), as_json)


@incident.command()
def ack(ctx: typer.Context, which: Which, reason: Reason = "I am on it", as_json: AsJson = False) -> None:
    """Say that you are on it."""
    with client(ctx) as asked:
        _give(asked.acknowledge(which, reason=reason), as_json)


@incident.command()
def note(
    ctx: typer.Context,
    which: Which,
    text: Annotated[str, typer.Argument(help="What to write.")],
    as_json: AsJson = False,
) -> None:
    """Write a line into the timeline."""
    with client(ctx) as asked:
        _give(asked.note(which, text), as_json)


@incident.command()
def resolve(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Close it, with what was found."""
    with client(ctx) as asked:
        _give(asked.resolve(which, reason=reason), as_json)


def _give(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    give_fields(
        [
            ("incident", found["id"]),
            ("title", found["title"]),
            ("endpoint", found["endpoint"]),
            ("version", found["version"]),
            ("state", found["state"]),
            ("on it", found["acknowledged_by"]),
            ("alerts", found["alerts"]),
        ]
    )
    print()
    rows = [(moment(event["at"]), event["kind"], event["by"], event["sentence"]) for event in found["timeline"]]
    give_table(("at", "what", "by", ""), rows, empty="nothing has happened yet")
