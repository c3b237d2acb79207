"""Long work: jobs, job show, job cancel."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli.asking import AsJson, Limit, client, first
from lockgate.cli.console import give, give_fields, give_json, give_table, moment

Which = Annotated[str, typer.Argument(help="The job's id; `lockgate jobs` lists them.")]

job = typer.Typer(help="Look at one job, or stop it.", no_args_is_help=True)


def jobs(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="queued, running, done, failed or cancelled.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List long work, newest first."""
    with client(ctx) as asked:
        found = first(asked.jobs(state), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            each["kind"],
            each["state"],
            f"{each['attempts']} of {each['max_attempts']}",
            moment(each["updated_at"]),
            each["error"] or each["progress"],
        )
        for each in found
    ]
    give_table(("job", "kind", "state", "attempts", "at", ""), rows, empty="no jobs")


@job.command()
def show(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """Show a job and the end of what it wrote."""
    with client(ctx) as asked:
        _give(asked.job(which), as_json)


@job.command()
def cancel(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """Stop a job; nothing that it does from now on is kept."""
    with client(ctx) as asked:
        _give(asked.cancel_job(which), as_json)


def _give(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    give_fields(
        [
            ("job", found["id"]),
            ("kind", found["kind"]),
            ("state", found["state"]),
            ("attempts", f"{found['attempts']} of {found['max_attempts']}"),
            ("progress", found["progress"]),
            ("error", found["error"]),
            ("by", found["requested_by"]),
            ("result", found["result"]),
        ]
    )
    if found["log"]:
        print()
        give(found["log"].rstrip())
