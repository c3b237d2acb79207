"""What there shall be, by a file: apply, environments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.base.errors import Invalid, NotFound
from lockgate.cli.asking import AsJson, client
from lockgate.cli.console import give_json, give_table, say

#: Exit code of --check when reality is other than the file says.
DRIFTED = 2
_ACTS = ("environments", "promote", "roll_back")


def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What there shall be: environments, and which version is live where.")],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the audit trail.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only show what it would take.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only look: exit code 2 when anything is other than the file says.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without being asked again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring what is live in line with a file; gates, signatures and rollouts take their course. Safe to repeat."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{file} cannot be read", hint="name a file of text") from error
    with client(ctx) as asked:
        found = asked.plan_state(text)
        acts = [step for step in found["steps"] if step["move"] in _ACTS]
        if plan or check or not acts:
            _tell(found, as_json)
            if check and found["drifted"]:
                raise typer.Exit(DRIFTED)
            return
        if not reason:
            raise Invalid("say why, with --reason", hint="it goes into the audit trail; --plan only looks")
        if not as_json:
            _tell(found, as_json)
        if not yes and sys.stdin.isatty():
            typer.confirm(f"\ndo {len(acts)} of these now?", abort=True, err=True)
        done = asked.apply_state(text, reason=reason)
    if as_json:
        give_json(done)
        return
    made = [step for step in done["steps"] if step["done"]]
    for step in made:
        say(f"· {step['endpoint'] or 'environments'}: {step['done']}")
    say(f"\n{len(made)} done; apply again to go on" if made else "\nnothing could be done")


def _tell(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    rows = [
        (
            step["move"].replace("_", " "),
            step["endpoint"] or "environments",
            step["now"],
            step["wanted"],
            step["sentence"],
        )
        for step in found["steps"]
    ]
    give_table(("step", "", "now", "shall be", ""), rows, empty="the file names nothing")
    if not found["drifted"]:
        say("\neverything is as the file says")


def environments(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the environments, in the order that versions pass through them."""
    with client(ctx) as asked:
        found = asked.environments()
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["name"],
            each["after"] or "",
            each["like"],
            sum(demand["people"] for demand in each["signatures"]),
            len(each["strategy"]["steps"]) or "at once",
        )
        for each in found["environments"]
    ]
    give_table(("environment", "after", "like", "approvals", "rollout steps"), rows, empty="none")
