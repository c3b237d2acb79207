"""Who you are to the platform: login, logout, whoami."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated, cast

import typer

from lockgate.base.errors import Invalid
from lockgate.cli.asking import AsJson, Asked, client
from lockgate.cli.console import give, give_fields, give_json, say


def login(
    url: Annotated[str, typer.Argument(help="Address of the platform, such as http://127.0.0.1:8400.")],
    token: Annotated[str, typer.Option(help="The token; asked for, or read from a pipe, when not given.")] = "",
    gateway: Annotated[str, typer.Option(help="Address for predictions, when it is not the next port.")] = "",
) -> None:
    """Keep an address and a token for the commands to come, readable by you alone."""
    from lockgate.sdk.client import Client
    from lockgate.sdk.finding import Access, gateway_of, sign_in

    address = url.rstrip("/")
    secret = token or (typer.prompt("token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline())
    if not secret.strip():
        raise Invalid("there is no token", hint="an administrator gives them out: `lockgate tokens issue`")
    access = Access(url=address, gateway=gateway or gateway_of(address), token=secret.strip())
    with Client(access.url, access.token, gateway=access.gateway) as trying:
        me = trying.me()
    path = sign_in(os.environ, access)
    say(f"signed in to {address} as {me['principal']} ({', '.join(me['roles'])}); kept in {path}")


def logout() -> None:
    """Forget the address and the token that `lockgate login` kept."""
    from lockgate.sdk.finding import signed_in

    signed_in(os.environ).unlink(missing_ok=True)
    say("signed out")


def whoami(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show who you are to the platform, and what you may do."""
    with client(ctx) as asked:
        me, url = asked.me(), asked.url
    if as_json:
        give_json(me)
        return
    give_fields(
        [
            ("platform", url),
            ("name", me["principal"]),
            ("roles", me["roles"]),
            ("environments", me["environments"] or "all"),
            ("may", me["actions"]),
        ]
    )


def env(ctx: typer.Context) -> None:
    """Print settings by which mlflow's own client and this one find the platform: eval "$(lockgate env)"."""
    from lockgate.sdk.finding import find_access

    asked = cast(Asked, ctx.obj)
    access = find_access(os.environ, url=asked.url, home=asked.home)
    found = {
        "LOCKGATE_URL": access.url,
        "LOCKGATE_TOKEN": access.token,
        "MLFLOW_TRACKING_URI": f"{access.url}/mlflow",
        "MLFLOW_TRACKING_TOKEN": access.token,
    }
    for name, value in found.items():
        give(f"export {name}={shlex.quote(value)}")
