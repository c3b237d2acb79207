"""Several measurements of one thing, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

#: A file or a narrow terminal shall not break the figures apart.
console = Console(highlight=False)
console.width = max(console.width, 130)


def spread(values: Sequence[float], unit: str = "", digits: int = 1) -> str:
    """Median and, with more than one value, the least and the most: ``3.1 (2.9–4.0) s``."""
    if not values:
        return "–"
    text = f"{median(values):,.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
    return f"{text} {unit}".strip()


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, note: str = "") -> None:
    """Print a table; numbers are expected as text already."""
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)
    if note:
        console.print(note, soft_wrap=True)


def say(text: str) -> None:
    """What goes on just now."""
    console.print(f"[dim]· {text}[/dim]")
