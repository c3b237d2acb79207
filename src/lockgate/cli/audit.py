"""The record: audit verify, entries, served."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from lockgate.base.clock import parse_time
from lockgate.base.errors import LedgerBroken
from lockgate.cli.asking import AsJson, Limit, client, first
from lockgate.cli.console import give_fields, give_json, give_table, moment
from lockgate.cli.endpoints import show_route

audit = typer.Typer(help="Who did what, and which version answered when.", no_args_is_help=True)


@audit.command()
def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Prove the whole ledger, entry by entry; ends with 1 when it is broken."""
    with client(ctx) as asked:
        proof = asked.verify_audit()
    if as_json:
        give_json(proof)
    if not proof["proved"]:
        raise LedgerBroken(proof["sentence"], hint="keep the database as it is, and restore the ledger from a backup")
    if not as_json:
        give_fields([("proved", proof["sentence"]), ("head", proof["head"])])


@audit.command()
def entries(
    ctx: typer.Context,
    subject: Annotated[str | None, typer.Option(help="Only of this, like version/thyroid:3.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this one did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, like promotion.requested.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List ledger entries, newest first."""
    with client(ctx) as asked:
        found = first(asked.audit_entries(subject=subject, actor=actor, action=action), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (each["seq"], moment(each["at"]), each["actor"], each["action"], each["subject"], each["reason"])
        for each in found
    ]
    give_table(("entry", "at", "who", "did", "to", "because"), rows, empty="no entries")


@audit.command()
def served(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Model and environment, like thyroid.prod.")],
    at: Annotated[str, typer.Option(help="The moment, like 2026-05-01T12:00:00Z; now when left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say which version answered on an endpoint at a moment."""
    when = parse_time(at) if at else datetime.now(UTC)
    with client(ctx) as asked:
        found = asked.served(endpoint, when.isoformat())
    if as_json:
        give_json(found)
        return
    give_fields(
        [
            ("endpoint", found["endpoint"]),
            ("at", moment(found["at"])),
            ("generation", found["generation"]),
            ("in force since", moment(found["published_at"])),
            ("because", found["reason"]),
        ]
    )
    print()
    show_route(found["route"])
