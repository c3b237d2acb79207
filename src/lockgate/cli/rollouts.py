"""Releases on their way: rollouts, rollout, abort, pause, continue."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from lockgate.cli.asking import AsJson, Limit, Reason, client, first
from lockgate.cli.console import give_fields, give_json, give_table, moment, say, steps

Which = Annotated[str, typer.Argument(help="The rollout's id; `lockgate rollouts` lists them.")]


def rollouts(
    ctx: typer.Context,
    endpoint: Annotated[str | None, typer.Option(help="Only this endpoint's.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List rollouts, newest first."""
    with client(ctx) as asked:
        found = first(asked.rollouts(endpoint), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            each["endpoint"],
            each["candidate"],
            each["phase"],
            f"{each['step']} of {len(each['strategy']['steps'])}",
            moment(each["created_at"]),
            each["reason"],
        )
        for each in found
    ]
    give_table(("rollout", "endpoint", "candidate", "phase", "steps done", "since", ""), rows, empty="no rollouts")


def rollout(
    ctx: typer.Context,
    which: Which,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over, telling each step.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one rollout: its steps, where it stands, and what it was last judged on."""
    from lockgate.sdk.following import describe_rollout

    with client(ctx) as asked:
        found = asked.rollout(which)
        if watch:
            with steps() as tell:
                last = ""
                while found["phase"] not in ("completed", "aborted"):
                    if (line := describe_rollout(found)) != last:
                        tell(line)
                        last = line
                    time.sleep(0.5)
                    found = asked.rollout(which)
    if as_json:
        give_json(found)
        return
    _show(found)


def abort(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Give the stable version all of the traffic back, at once."""
    with client(ctx) as asked:
        table = asked.abort(which, reason=reason)
    if as_json:
        give_json(table)
    else:
        say(f"{which} aborted; generation {table['generation']} is in force")


def pause(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Hold a rollout where it is; its guards go on and may still abort it."""
    with client(ctx) as asked:
        found = asked.pause(which, reason=reason)
    if as_json:
        give_json(found)
    else:
        _show(found)


def go_on(ctx: typer.Context, which: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Let a held rollout go on."""
    with client(ctx) as asked:
        found = asked.go_on(which, reason=reason)
    if as_json:
        give_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from lockgate.sdk.following import describe_step

    give_fields(
        [
            ("rollout", found["id"]),
            ("endpoint", found["endpoint"]),
            ("candidate", found["candidate"]),
            ("stable", found["stable"]),
            ("phase", found["phase"]),
            ("because", found["reason"]),
        ]
    )
    at = int(found["step"])
    rows = [
        ("done" if number < at else "now" if number == at else "", number + 1, describe_step(step))
        for number, step in enumerate(found["strategy"]["steps"])
    ]
    if rows:
        print()
        give_table(("", "step", "what"), rows, empty="")
    judged = [
        (each.get("verdict", ""), each.get("name", each.get("guard", "")), each.get("sentence", ""))
        for each in found["judgements"]
    ]
    if judged:
        print()
        give_table(("verdict", "guard", "evidence"), judged, empty="")
