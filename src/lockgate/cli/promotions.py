"""From environment to environment: promote, promotions, approve, reject."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from lockgate.base.errors import NotAllowedNow
from lockgate.cli.asking import AsJson, Limit, Reason, Wait, client, first, version_named
from lockgate.cli.console import give_fields, give_json, give_table, moment, say, steps
from lockgate.cli.models import show_report
from lockgate.cli.reporting import Files, Html, Junit, Markdown, Sarif

Which = Annotated[str, typer.Argument(help="The promotion's id; `lockgate promotions` lists them.")]


def promote(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(help="Model and number, like thyroid:3.")],
    environment: Annotated[str, typer.Argument(help="Where to: dev, test or prod.")],
    reason: Reason,
    wait: Wait = True,
    junit: Junit = None,
    sarif: Sarif = None,
    markdown: Markdown = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Ask that a version goes to an environment; stays until it is refused, awaits a signature, or is live."""
    from lockgate.sdk.submitting import finish

    model, number = version_named(version)
    with client(ctx) as asked, steps() as tell:
        promotion = asked.promote(model, number, environment, reason=reason)
        if wait:
            judged = Files(junit=junit, sarif=sarif, markdown=markdown, html=html).when_judged(asked.report)
            known = asked.get_version(model, number)
            done = finish(asked, known, promotion["id"], tell=tell, judged=judged)
            promotion = done.promotion or promotion
    if as_json:
        give_json(promotion)
        return
    _show(promotion)
    if promotion["state"] == "awaiting_approval":
        say(f"\nhint: a second person signs it with `lockgate approve {promotion['id']} --reason …`")


def promotions(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only into this environment.")] = None,
    state: Annotated[str | None, typer.Option(help="gating, refused, awaiting_approval, rejected or released.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List promotions, newest first."""
    with client(ctx) as asked:
        found = first(asked.promotions(model=model, environment=environment, state=state), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            each["version"],
            each["environment"],
            each["state"],
            each["requested_by"],
            moment(each["created_at"]),
            each["sentence"],
        )
        for each in found
    ]
    give_table(("promotion", "version", "to", "state", "by", "at", ""), rows, empty="no promotions")


def approve(
    ctx: typer.Context,
    promotion: Which,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Sign without being asked again.")] = False,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Read the gate report of a promotion and sign it; the signature holds for that report alone."""
    with client(ctx) as asked:
        known = asked.promotion(promotion)
        if not known["report"]:
            raise NotAllowedNow(f"{promotion} has no gate report to sign yet", hint="wait until its gates have spoken")
        if not as_json:
            show_report(asked.report(known["report"]))
        if not yes and sys.stdin.isatty():
            typer.confirm(f"\nsign {known['version']} for {known['environment']}?", abort=True, err=True)
        signed = asked.approve(promotion, report=known["report"], reason=reason)
        if wait and signed["state"] == "released":
            with steps() as tell:
                asked.follow.rollout(promotion, tell=tell)
    if as_json:
        give_json(signed)
    else:
        print()
        _show(signed)


def reject(ctx: typer.Context, promotion: Which, reason: Reason, as_json: AsJson = False) -> None:
    """Turn a promotion down."""
    with client(ctx) as asked:
        done = asked.reject(promotion, reason=reason)
    if as_json:
        give_json(done)
    else:
        _show(done)


def _show(promotion: dict[str, Any]) -> None:
    signed = [f"{approval['by']} ({approval['reason']})" for approval in promotion["approvals"]]
    give_fields(
        [
            ("promotion", promotion["id"]),
            ("version", promotion["version"]),
            ("to", promotion["environment"]),
            ("state", promotion["state"]),
            ("because", promotion["sentence"]),
            ("signed by", signed),
            ("signatures", f"{len(signed)} of {promotion['approvals_needed']}"),
            ("report", promotion["report"]),
            ("release", promotion["release"]),
        ]
    )
