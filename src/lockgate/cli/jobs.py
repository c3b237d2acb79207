"""Long work: jobs, queues, job show, job cancel, job retry."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.base.errors import Invalid
from lockgate.cli.asking import AsJson, Limit, client, first
from lockgate.cli.console import give, give_fields, give_json, give_table, moment, say

Which = Annotated[str, typer.Argument(help="The job's id; `lockgate jobs` lists them.")]

Because = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the audit trail.")]

job = typer.Typer(help="Look at one job, stop it, or give it another chance.", no_args_is_help=True)


def jobs(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="queued, running, parked, done, failed or cancelled.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as gate.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only this queue.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List long work, newest first."""
    with client(ctx) as asked:
        found = first(asked.work.jobs(state=state, kind=kind, queue=queue), limit)
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
            each["error"] if each["state"] in ("failed", "parked") else each["progress"],
        )
        for each in found
    ]
    give_table(("job", "kind", "state", "attempts", "at", ""), rows, empty="no jobs")


def queues(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show how many jobs wait, run and have died, by queue."""
    with client(ctx) as asked:
        found = asked.work.queues()
    if as_json:
        give_json(found)
        return
    rows = [
        (each["queue"], each["waiting"], each["running"], each["parked"], each["dead"], moment(each["oldest_due_at"]))
        for each in found
    ]
    give_table(("queue", "waiting", "running", "parked", "dead", "waits since"), rows, empty="no jobs yet")


def leaders(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show which control plane does what only one may do."""
    with client(ctx) as asked:
        found = asked.work.leaders()
    if as_json:
        give_json(found)
        return
    rows = [
        (each["concern"], each["holder"] if each["leads"] else "nobody just now", each["token"], moment(each["since"]))
        for each in found
    ]
    give_table(("concern", "control plane", "token", "since"), rows, empty="no control plane leads anything yet")


@job.command()
def show(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """Show a job and the end of what it wrote."""
    with client(ctx) as asked:
        _give(asked.job(which), as_json)


@job.command()
def cancel(ctx: typer.Context, which: Which, reason: Because = "", as_json: AsJson = False) -> None:
    """Stop a job; nothing that it does from now on is kept."""
    with client(ctx) as asked:
        _give(asked.work.cancel(which, reason=reason), as_json)


@job.command()
def retry(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(help="The job's id; empty with --all.")] = "",
    every: Annotated[str, typer.Option("--all", metavar="KIND", help="Every dead letter of this kind.")] = "",
    reason: Because = "",
    as_json: AsJson = False,
) -> None:
    """Give a job that failed or was cancelled another chance, or every dead letter of a kind."""
    if bool(which) == bool(every):
        raise Invalid("say which job, or --all KIND", hint="lockgate jobs --state failed lists them")
    with client(ctx) as asked:
        if which:
            _give(asked.work.retry(which, reason=reason), as_json)
            return
        done = asked.work.retry_all(every, reason=reason or "tried again")
    if as_json:
        give_json(done)
        return
    for id in done["again"]:
        print(id)
    for id, why in done["refused"].items():
        say(f"{id} is not tried again: {why}")
    say(f"{len(done['again'])} begin anew")


def _give(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    give_fields(
        [
            ("job", found["id"]),
            ("kind", found["kind"]),
            ("queue", found["queue"]),
            ("state", found["state"]),
            ("attempts", f"{found['attempts']} of {found['max_attempts']}"),
            ("worker", found["worker"]),
            ("progress", found["progress"]),
            ("error", found["error"]),
            ("by", found["requested_by"]),
            ("result", found["result"]),
        ]
    )
    if found["log"]:
        print()
        give(found["log"].rstrip())
