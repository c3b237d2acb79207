"""Jobs that come by the calendar: schedules list, show, add, run, pause, resume, remove."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from lockgate.base.errors import Invalid
from lockgate.cli.asking import AsJson, Reason, client, first
from lockgate.cli.console import give_fields, give_json, give_table, moment, say

schedules = typer.Typer(help="Jobs that are asked for by the calendar.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="Its name; `lockgate schedules list` shows them.")]


@schedules.command("list")
def list_schedules(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List schedules, in the order of their next ticks."""
    with client(ctx) as asked:
        found = first(asked.work.schedules(), 10_000)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            each["kind"],
            each["cron"],
            each["zone"],
            "paused" if each["paused"] else moment(each["next_at"]),
            moment(each["last_tick"]),
            each["catch_up"],
        )
        for each in found
    ]
    give_table(("schedule", "kind", "cron", "zone", "next", "last", "missed ones"), rows, empty="no schedules")


@schedules.command()
def show(ctx: typer.Context, which: Which, as_json: AsJson = False) -> None:
    """Show one schedule."""
    with client(ctx) as asked:
        _give(asked.work.schedule(which), as_json)


@schedules.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called: small letters, digits, dashes.")],
    kind: Annotated[str, typer.Argument(help="Kind of job: prune, verify-ledger, regate.")],
    cron: Annotated[
        str, typer.Argument(help="'minute hour day month weekday', or @hourly, @daily, @weekly, @monthly.")
    ],
    reason: Reason,
    zone: Annotated[str, typer.Option(help="Whose clock it is by, such as Europe/Berlin.")] = "UTC",
    catch_up: Annotated[
        str, typer.Option(help="Ticks missed while the platform was down: skip, once for all of them, or all.")
    ] = "once",
    given: Annotated[
        list[str] | None, typer.Option("--set", help="What the job is asked with, NAME=VALUE; VALUE may be JSON.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have jobs asked for by the calendar from now on."""
    payload = dict(_pair(text) for text in given or ())
    with client(ctx) as asked:
        made = asked.work.add_schedule(
            name=name, kind=kind, cron=cron, zone=zone, catch_up=catch_up, payload=payload, reason=reason
        )
    _give(made, as_json)


@schedules.command()
def run(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Ask for its job now, beside its ticks."""
    with client(ctx) as asked:
        started = asked.work.change_schedule(which, "run", reason=reason)
    if as_json:
        give_json(started)
        return
    print(started["job"])
    say(f"\nhint: lockgate job show {started['job']}")


@schedules.command()
def pause(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Ask for no jobs until it is resumed."""
    with client(ctx) as asked:
        _give(asked.work.change_schedule(which, "pause", reason=reason), as_json)


@schedules.command()
def resume(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Let it go on with its next tick; those of the pause are passed over."""
    with client(ctx) as asked:
        _give(asked.work.change_schedule(which, "resume", reason=reason), as_json)


@schedules.command()
def remove(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Ask for no further jobs; those that were asked for go on."""
    with client(ctx) as asked:
        removed = asked.work.change_schedule(which, "remove", reason=reason)
    if as_json:
        give_json(removed)
    else:
        say(f"{which} is removed")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"{text!r} sets nothing", hint="write NAME=VALUE, such as keep_days=14")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _give(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    give_fields(
        [
            ("schedule", found["id"]),
            ("kind", found["kind"]),
            ("asked with", json.dumps(found["payload"]) if found["payload"] else ""),
            ("cron", found["cron"]),
            ("zone", found["zone"]),
            ("next", "paused" if found["paused"] else moment(found["next_at"])),
            ("last", moment(found["last_tick"])),
            ("last job", found["last_job"]),
            ("missed ones", found["catch_up"]),
            ("passed over", found["passed_over"]),
            ("by", found["created_by"]),
            ("why", found["reason"]),
        ]
    )
