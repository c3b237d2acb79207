"""What callers address: endpoints, predict, label, rollback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli.asking import AsJson, Limit, Reason, client, first
from lockgate.cli.console import give_fields, give_json, give_table, moment, percent, say
from lockgate.cli.tables import read_labels, read_rows

Name = Annotated[str, typer.Argument(help="Model and environment, like thyroid.prod.")]


def endpoints(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List endpoints: which version answers, which came before, what is on its way."""
    with client(ctx) as asked:
        found = first(asked.endpoints(model), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (each["id"], each["stable"], each["previous"], each["candidate"], moment(each["updated_at"])) for each in found
    ]
    give_table(("endpoint", "stable", "before", "candidate", "changed"), rows, empty="no endpoints yet")


def predict(
    ctx: typer.Context,
    endpoint: Name,
    file: Annotated[Path, typer.Argument(help="Rows as CSV or JSON; - reads JSON from standard input.")],
    key: Annotated[str, typer.Option(help="Callers of one key are answered by one version.")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint; prints a row for each row, with the prediction id that a label needs."""
    rows = read_rows(file, sys.stdin)
    with client(ctx) as asked:
        answer = asked.predict(endpoint, rows, key=key)
    if as_json:
        give_json(
            {
                "endpoint": answer.endpoint,
                "version": answer.version,
                "generation": answer.generation,
                "prediction_ids": answer.prediction_ids,
                "outputs": answer.outputs,
            }
        )
        return
    names = list(answer.outputs)
    columns = zip(answer.prediction_ids, *(answer.outputs[name] for name in names), strict=True)
    give_table(("prediction", *names), [(id, *map(_rounded, values)) for id, *values in columns], empty="no rows")
    say(f"answered by version {answer.version}, generation {answer.generation}")


def label(
    ctx: typer.Context,
    endpoint: Name,
    pairs: Annotated[list[str] | None, typer.Argument(help="Labels as ID=VALUE.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="CSV with prediction_id and value, or JSON {id: value}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the truth about predictions, whenever it is known."""
    values = read_labels(pairs or [], file)
    with client(ctx) as asked:
        changed = asked.label(endpoint, values)
    if as_json:
        give_json({"received": len(values), "changed": changed})
    else:
        say(f"{len(values)} labels for {endpoint}, {changed} of them new or changed")


def rollback(
    ctx: typer.Context,
    endpoint: Name,
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="Version to go back to, like thyroid:2; the one before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Undo the newest change of an endpoint: abort what is on its way, or go back to the version before."""
    with client(ctx) as asked:
        table = asked.rollback(endpoint, reason=reason, to=to)
        asked.follow.gateways(table["generation"], endpoint=endpoint, tell=say)
    if as_json:
        give_json(table)
        return
    route = next((route for route in table["endpoints"] if route["name"] == endpoint), None)
    give_fields([("endpoint", endpoint), ("generation", table["generation"]), ("because", table["reason"])])
    show_route(route)


def show_route(route: dict[str, Any] | None) -> None:
    """Who answers an endpoint."""
    targets = route["targets"] if route else []
    rows = [(target["version"], target["role"], percent(target["weight"])) for target in targets]
    give_table(("version", "role", "share"), rows, empty="nothing answers there")


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return f"{value:.6g}" if isinstance(value, float) else value
