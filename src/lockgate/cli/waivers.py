"""What may be passed by, and what is forced: waiver ask, list, show, approve, reject, revoke; break-glass."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from lockgate.cli.asking import AsJson, Limit, Reason, client, first, version_named
from lockgate.cli.console import give_fields, give_json, give_table, moment, say

waiver = typer.Typer(help="Somebody answers, for a time, for a gate that did not pass.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="The waiver's id; `lockgate waiver list` shows them.")]


@waiver.command()
def ask(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="A model, or one version of it such as thyroid:3.")],
    environment: Annotated[str, typer.Argument(help="Where it shall hold.")],
    gate: Annotated[str, typer.Argument(help="Kind of the gate, such as regression.")],
    reason: Reason,
    name: Annotated[str, typer.Option(help="Which one of the kind, such as roc_auc; every one if not said.")] = "",
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it shall hold.")] = 14,
    as_json: AsJson = False,
) -> None:
    """Ask that a gate may be passed by; somebody else has to approve it."""
    model = version_named(what)[0] if ":" in what else what
    until = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with client(ctx) as asked:
        made = asked.govern.ask_waiver(
            model=model,
            environment=environment,
            gate=gate,
            name=name,
            version=what if ":" in what else None,
            expires_at=until,
            reason=reason,
        )
    _show(made, as_json)
    if not as_json:
        say(f"\nhint: somebody else approves it: lockgate waiver approve {made['id']} --reason …")


@waiver.command("list")
def list_waivers(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only in this environment.")] = None,
    state: Annotated[str | None, typer.Option(help="requested, approved, rejected or revoked.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List waivers, newest first."""
    with client(ctx) as asked:
        found = first(asked.govern.waivers(model=model, environment=environment, state=state), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            each["version"] or each["model"],
            each["environment"],
            f"{each['gate']} {each['name']}".strip(),
            each["state"],
            each["requested_by"],
            each["decided_by"],
            moment(each["expires_at"]),
            each["reason"],
        )
        for each in found
    ]
    heads = ("waiver", "for", "in", "gate", "state", "asked by", "decided by", "until", "")
    give_table(heads, rows, empty="no waivers")


@waiver.command()
def show(ctx: typer.Context, id: Which, as_json: AsJson = False) -> None:
    """Show one waiver."""
    with client(ctx) as asked:
        _show(asked.govern.waiver(id), as_json)


@waiver.command()
def approve(ctx: typer.Context, id: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Answer for a waiver that somebody else asked for."""
    with client(ctx) as asked:
        _show(asked.govern.decide_waiver(id, "approve", reason=reason), as_json)


@waiver.command()
def reject(ctx: typer.Context, id: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Turn a waiver down."""
    with client(ctx) as asked:
        _show(asked.govern.decide_waiver(id, "reject", reason=reason), as_json)


@waiver.command()
def revoke(ctx: typer.Context, id: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Take an approved waiver back."""
    with client(ctx) as asked:
        _show(asked.govern.decide_waiver(id, "revoke", reason=reason), as_json)


def break_glass(
    ctx: typer.Context,
    promotion: Annotated[str, typer.Argument(help="A promotion that was refused, or waits for signatures.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without being asked again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Force a promotion past its gates and signatures, in an emergency; somebody else has to review it afterwards."""
    with client(ctx) as asked:
        known = asked.promotion(promotion)
        if not yes and sys.stdin.isatty():
            say(f"{known['version']} to {known['environment']}: {known['sentence']}")
            typer.confirm("force it all the same?", abort=True, err=True)
        done = asked.govern.force(promotion, reason=reason)
    if as_json:
        give_json(done)
        return
    give_fields([("promotion", done["id"]), ("state", done["state"]), ("because", done["sentence"])])
    say(f"\nhint: {done['forced']['review']} has to be resolved by somebody else before anything can be forced again")


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    give_fields(
        [
            ("waiver", found["id"]),
            ("for", found["version"] or found["model"]),
            ("in", found["environment"]),
            ("gate", f"{found['gate']} {found['name']}".strip()),
            ("state", found["state"]),
            ("until", moment(found["expires_at"])),
            ("asked by", f"{found['requested_by']} ({found['reason']})"),
            ("decided by", f"{found['decided_by']} ({found['decision']})" if found["decided_by"] else None),
        ]
    )
