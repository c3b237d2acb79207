"""What is told when the story is over."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lockgate.demo.child import Json
from lockgate.demo.data import PROVENANCE
from lockgate.demo.platform import Platform
from lockgate.demo.screen import Step


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the story left behind."""

    #: As `traffic` counts.
    counted: Json
    #: Seconds from the automatic rollback to the last answer of the bad version.
    rolled_back_in: float
    #: Release of the candidate that was caught, and the incident.
    caught: str
    incident: str


def show_timeline(console: Console, steps: list[Step]) -> None:
    """Each step with its time from the beginning and the time it took."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("what happened", overflow="fold")
    for chapter, inside in groupby(steps, key=lambda step: step.chapter):
        table.add_row("", "", Text(chapter, style="bold"))
        for step in inside:
            table.add_row(f"{step.at:.1f} s", f"{step.took:.1f} s", Text(step.sentence))
    console.print()
    console.print(table)


def show_outcome(console: Console, platform: Platform, outcome: Outcome, *, seconds: float, stay: bool) -> None:
    """Requests, links, and what one can do now."""
    counted = outcome.counted
    refused = sum(counted["refused"].values())
    console.print()
    lines = [
        f"requests   {counted['sent']:,} sent, {counted['answered']:,} answered, {counted['lost']:,} lost",
        f"           {refused:,} of the answers were refusals: the canary had no number to give, and said so",
        f"rollback   the bad version's last answer came {outcome.rolled_back_in:.2f} s after the decision",
        f"story      {seconds:.0f} s",
        "",
        "Pages" if stay else "Pages (they are gone now; `lockgate demo --stay` leaves them up)",
        f"  the fleet              {platform.url}/",
        f"  monitoring             {platform.url}/endpoints/thyroid.prod",
        f"  the release caught     {platform.url}/releases/{outcome.caught}",
        f"  the incident           {platform.url}/incidents/{outcome.incident}",
        f"  the audit trail        {platform.url}/audit",
        f"  MLflow                 {platform.url}/mlflow/",
    ]
    if stay:
        lines += [
            "",
            f"Sign in with           {platform.admin_token}",
            f"Ask it                 {_program()} --in {platform.home.root} endpoints",
            f"Stop it                {_program()} down --home {platform.home.root}",
        ]
    lines += ["", "The data", *(f"  {line}" for line in PROVENANCE.splitlines())]
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _program() -> str:
    """How the command line is called here."""
    return "lockgate" if shutil.which("lockgate") else str(Path(sys.executable).with_name("lockgate"))
