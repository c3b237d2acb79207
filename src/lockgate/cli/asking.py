"""What many commands share: who to ask, and the options that read alike everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lockgate.base.errors import Invalid

if TYPE_CHECKING:
    from lockgate.sdk.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the audit trail.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many to show at most.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is over, telling each step.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What was said before the command's name."""

    url: str
    home: Path | None


def client(ctx: typer.Context) -> Client:
    """A client for the platform that is meant."""
    from lockgate.sdk.shortcuts import connect

    asked = cast(Asked, ctx.obj)
    return connect(asked.url, home=asked.home, env=os.environ)


def first(items: Iterable[Any], limit: int) -> list[Any]:
    """As many as are to be shown; no further page is asked for."""
    return list(islice(items, limit))


def version_named(text: str) -> tuple[str, int]:
    """``thyroid:3`` as model and number.

    Raises:
        Invalid: it is not written so.
    """
    model, colon, number = text.rpartition(":")
    if not colon or not model or not number.isdecimal():
        raise Invalid(f"{text!r} names no version", hint="write model and number, like thyroid:3")
    return model, int(number)
