"""What is demanded where: policy list, show, check, apply, withdraw, dry-run, demanded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockgate.base.errors import Invalid
from lockgate.cli.asking import AsJson, Reason, client, version_named
from lockgate.cli.console import give, give_json, give_table, moment, say

policy = typer.Typer(help="What each environment and risk tier demands, as files.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A policy file.")]
Named = Annotated[str, typer.Argument(help="The policy's name.")]


@policy.command("list")
def list_policies(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the policies in force."""
    with client(ctx) as asked:
        found = asked.govern.policies()
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["name"],
            each["number"],
            each["applied_by"] or "comes with lockgate",
            moment(each["applied_at"]),
            each["description"],
        )
        for each in found
    ]
    give_table(("policy", "number", "by", "since", ""), rows, empty="no policy is in force")


@policy.command()
def show(
    ctx: typer.Context,
    name: Named = "default",
    number: Annotated[int | None, typer.Option(help="An older one; 0 is what comes with lockgate.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a policy file as it was written."""
    with client(ctx) as asked:
        found = asked.govern.policy(name, number)
    if as_json:
        give_json(found)
    else:
        give(found["text"].rstrip())


@policy.command()
def check(file: File) -> None:
    """Say whether a policy file is sound; no platform is asked."""
    from lockgate.adapters.lockgate_yaml.policies import read_policy

    read = read_policy(_text(file))
    demands = sum(len(rule.demands) for rule in read.rules)
    say(f"{file} is sound: policy {read.name}, {len(read.rules)} rules, {demands} demands, {read.digest}")


@policy.command()
def apply(ctx: typer.Context, file: File, reason: Reason, as_json: AsJson = False) -> None:
    """Put a policy file in force, in place of the one of its name."""
    with client(ctx) as asked:
        kept = asked.govern.apply_policy(_text(file), reason=reason)
    if as_json:
        give_json(kept)
    else:
        say(f"{kept['id']} is in force; what waits under other demands has to be judged again")


@policy.command()
def withdraw(ctx: typer.Context, name: Named, reason: Reason, as_json: AsJson = False) -> None:
    """Take a policy out of force."""
    with client(ctx) as asked:
        gone = asked.govern.withdraw_policy(name, reason=reason)
    if as_json:
        give_json(gone)
    else:
        say(f"{gone['id']} is no longer in force")


@policy.command("dry-run")
def dry_run(
    ctx: typer.Context,
    file: File,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How far back to look.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Tell which promotions of the last days a policy would have refused, and why. Changes nothing."""
    with client(ctx) as asked:
        told = asked.govern.dry_run(_text(file), days=days)
    if as_json:
        give_json(told)
        return
    rows = [
        (
            each["promotion"],
            each["version"],
            each["environment"],
            each["state"],
            finding["verdict"],
            f"{finding['gate']} {finding['name']}".strip(),
            finding["sentence"],
        )
        for each in told["promotions"]
        for finding in each["findings"]
    ]
    give_table(("promotion", "version", "to", "was", "verdict", "gate", "why"), rows, empty="nothing would be refused")
    say(
        f"\nof {told['judged']} judged promotions in {days} days, {told['released']} were released,"
        f" and {told['policy']} would have refused {told['refused']} of these"
    )


@policy.command()
def demanded(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(help="Model and number, like thyroid:3.")],
    environment: Annotated[str, typer.Argument(help="dev, test or prod.")] = "prod",
    as_json: AsJson = False,
) -> None:
    """Show what an environment demands of a version: the policies in force and its own file, put together."""
    model, number = version_named(version)
    with client(ctx) as asked:
        found = asked.govern.demanded(model, number, environment)
    if as_json:
        give_json(found)
        return
    rows = [
        (gate["kind"], ", ".join(f"{key} {value}" for key, value in gate["params"].items()) or "—")
        for gate in found["gates"]
    ]
    give_table(("gate", "figures"), rows, empty="nothing is demanded")
    people = sum(each["people"] for each in found["signatures"])
    say(f"\n{people or 'no'} signature{'' if people == 1 else 's'} of somebody else")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} cannot be read: {error}", hint="name a policy file") from error
