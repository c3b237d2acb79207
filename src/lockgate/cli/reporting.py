"""A gate report for people and for the programs of a pipeline: files, annotations, exit codes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.base.errors import Invalid
from lockgate.cli.console import say

Junit = Annotated[Path | None, typer.Option("--junit", help="Write the report as JUnit XML to this file.")]
Sarif = Annotated[Path | None, typer.Option("--sarif", help="Write the report as SARIF to this file.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Write the report as Markdown to this file.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page to this file.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Where a report is to be written."""

    junit: Path | None = None
    sarif: Path | None = None
    markdown: Path | None = None
    html: Path | None = None
    #: The file that the gates stand in; annotations point into it.
    config: Path = Path("lockgate.yaml")

    def write(self, report: dict[str, Any], waivers: Sequence[str] = ()) -> None:
        """Write the files that were asked for, and the annotations where GitHub Actions runs us.

        Raises:
            Invalid: a file cannot be written.
        """
        from lockgate.adapters.reports.forms import FORMS
        from lockgate.adapters.reports.machines import workflow_commands
        from lockgate.adapters.reports.told import Told

        told = Told(report=report, waivers=waivers, config=str(self.config), lines=_lines(self.config))
        wanted = {"junit": self.junit, "sarif": self.sarif, "markdown": self.markdown, "html": self.html}
        for form, file in wanted.items():
            if file is not None:
                _write(file, FORMS[form](told))
        if _annotates():
            for line in workflow_commands(told):
                say(line)

    def when_judged(self, report_of: Callable[[str], dict[str, Any]]) -> Callable[[dict[str, Any]], None]:
        """Writes the report of a promotion as soon as its gates have spoken."""

        def judged(promotion: dict[str, Any]) -> None:
            wanted = (self.junit, self.sarif, self.markdown, self.html, _annotates() or None)
            if promotion["report"] and any(each is not None for each in wanted):
                waived = [str(promotion["sentence"])] if promotion.get("waivers") else []
                self.write(report_of(str(promotion["report"])), waived)

        return judged


def _annotates() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{file} cannot be written: {error.strerror}", hint="name another file") from error


def _lines(config: Path) -> dict[str, int]:
    """The line of the first gate of each kind in a lockgate.yaml."""
    try:
        lines = config.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        kind = re.match(r"\s*-\s*\{?\s*([a-z_]+)\s*:", line)
        if kind:
            found.setdefault(kind[1], number)
    return found
