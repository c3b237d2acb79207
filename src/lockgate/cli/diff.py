"""What is different between two versions."""

from __future__ import annotations

from typing import Annotated

import typer

from lockgate.cli.asking import AsJson, client, version_named
from lockgate.cli.console import give_json, give_table, say


def diff(
    ctx: typer.Context,
    before: Annotated[str, typer.Argument(help="Model and number, like thyroid:3.")],
    after: Annotated[str, typer.Argument(help="The one to compare it with, like thyroid:4.")],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this: model, data, features, outputs, parameters, metrics, requirements, demands or gates;"
            " repeatable."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: data, features, parameters, metrics, requirements, gates."""
    for version in (before, after):
        version_named(version)
    with client(ctx) as asked:
        found = asked.diff(before, after)
    told = [each for each in found["differences"] if not part or each["part"] in part]
    if as_json:
        give_json({**found, "differences": told})
        return
    rows = [(each["part"], each["name"], each["before"], each["after"]) for each in told]
    give_table(("", "", before, after), rows, empty=f"{before} and {after} do not differ in what was asked")
    if rows:
        say(f"\n{len(rows)} difference{'s' if len(rows) > 1 else ''}")
