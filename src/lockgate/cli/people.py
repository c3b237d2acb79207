"""Who may come in: people list, add; tokens list, issue, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from lockgate.cli.asking import AsJson, Limit, Reason, client, first
from lockgate.cli.console import give, give_json, give_table, moment, say

people = typer.Typer(help="People and machines.", no_args_is_help=True)
tokens = typer.Typer(help="What people and machines show to be let in.", no_args_is_help=True)


@people.command("list")
def list_people(ctx: typer.Context, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List everybody the platform knows."""
    with client(ctx) as asked:
        found = first(asked.people(), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["name"],
            "person" if each["person"] else "machine",
            each["roles"],
            each["groups"],
            "disabled" if each["disabled"] else "",
            moment(each["created_at"]),
        )
        for each in found
    ]
    give_table(("name", "kind", "roles", "groups", "", "since"), rows, empty="nobody yet")


@people.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What they are called here.")],
    role: Annotated[
        list[str], typer.Option("--role", help="viewer, developer, approver, operator, auditor or admin; repeatable.")
    ],
    machine: Annotated[bool, typer.Option("--machine", help="A machine; it may not approve.")] = False,
    group: Annotated[list[str] | None, typer.Option("--group", help="A board or team; repeatable.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let a person or a machine in."""
    with client(ctx) as asked:
        added = asked.add_person(name, role, person=not machine, groups=group or (), reason=reason)
    if as_json:
        give_json(added)
    else:
        say(f"{name} is in, as {', '.join(added['roles'])}\n\nhint: `lockgate tokens issue {name} --purpose …`")


@people.command()
def change(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Who.")],
    reason: Reason,
    role: Annotated[list[str] | None, typer.Option("--role", help="All the roles they shall have.")] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="All the groups they shall be in; none leaves every one.")
    ] = None,
    disable: Annotated[bool | None, typer.Option("--disable/--enable", help="Shut them out, or let them in.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change somebody's roles or groups, or shut them out."""
    wanted: dict[str, object] = {"roles": role, "disabled": disable}
    if group:
        wanted["groups"] = [] if group == ["none"] else group
    with client(ctx) as asked:
        changed = asked.change_person(
            name, reason=reason, **{key: value for key, value in wanted.items() if value is not None}
        )
    if as_json:
        give_json(changed)
    else:
        state = "shut out" if changed["disabled"] else f"in, as {', '.join(changed['roles'])}"
        of = f", of {', '.join(changed['groups'])}" if changed["groups"] else ""
        say(f"{name} is {state}{of}")


@tokens.command("list")
def list_tokens(
    ctx: typer.Context,
    principal: Annotated[str | None, typer.Option("--for", help="Only this one's.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List tokens, newest first; their text is kept nowhere."""
    with client(ctx) as asked:
        found = first(asked.tokens(principal), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (
            each["id"],
            f"{each['hint']}…",
            each["principal"],
            each["roles"],
            each["environments"] or "all",
            "revoked" if each["revoked_at"] else moment(each["expires_at"]),
            each["purpose"],
        )
        for each in found
    ]
    give_table(("token", "begins", "of", "roles", "environments", "until", "purpose"), rows, empty="no tokens")


@tokens.command()
def issue(
    ctx: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose token it is.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")] = 90,
    role: Annotated[list[str] | None, typer.Option("--role", help="Only these of its owner's roles.")] = None,
    environment: Annotated[list[str] | None, typer.Option("--environment", help="Only in these environments.")] = None,
    behind: Annotated[
        str, typer.Option(help="Person who answers for a machine's token, and may not approve what it asks for.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Issue a token; its text is printed once, here."""
    until = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with client(ctx) as asked:
        token = asked.issue_token(
            principal,
            purpose=purpose,
            expires_at=until,
            roles=role or (),
            environments=environment or (),
            behind=behind,
        )
    if as_json:
        give_json(token)
        return
    say(f"{token['id']} for {principal}, until {moment(token['expires_at'])}. Its text is shown this once:")
    give(token["token"])


@tokens.command()
def revoke(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(help="The token's id.")],
    reason: Reason = "no longer needed",
    as_json: AsJson = False,
) -> None:
    """Make a token worthless."""
    with client(ctx) as asked:
        token = asked.revoke_token(which, reason=reason)
    if as_json:
        give_json(token)
    else:
        say(f"{which} of {token['principal']} is worthless now")
