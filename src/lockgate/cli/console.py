"""What a person sees: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from lockgate.base.errors import LockgateError

#: How a state or a verdict is coloured; what it is, the word itself says.
_STYLES = {
    **dict.fromkeys(("pass", "ready", "completed", "released", "done", "closed", "resolved"), "green"),
    **dict.fromkeys(("fail", "failed", "refused", "aborted", "rejected", "revoked", "open"), "red"),
    **dict.fromkeys(("unknown", "holding", "awaiting_approval", "waiting", "starting", "mitigated"), "yellow"),
}


def say(text: str) -> None:
    """A message, to standard error."""
    print(text, file=sys.stderr, flush=True)


def complain(error: LockgateError) -> None:
    """An error with all its problems, and what to do about it after an empty line."""
    say(f"error: {clean(error.message)}")
    for problem in error.problems:
        say(f"  - {clean(problem)}")
    if error.hint:
        say(f"\nhint: {clean(error.hint)}")


def give_json(value: Any) -> None:
    """Data for a program."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def give(text: str) -> None:
    """Data for a person."""
    print(clean(text, lines=True))


def give_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Rows under headings; what to say when there are none goes to standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    listed = list(rows)
    if not listed:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in listed:
        cells = [clean(_cell(value)) for value in row]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    # Into a pipe each row is one line, however long.
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(table)


def give_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    known = [(name, clean(_cell(value))) for name, value in fields if value not in (None, "", [], ())]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{name:<{width}}  {value}")


@contextmanager
def steps() -> Generator[Callable[[str], None]]:
    """Tells of progress: a line a step, and on a terminal the one under way in motion."""
    if not sys.stderr.isatty():
        yield lambda step: say(f"· {clean(step)}")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    last = ""
    with console.status("") as status:

        def tell(step: str) -> None:
            nonlocal last
            if last:
                console.print(Text(f"· {last}", style="dim"))
            last = clean(step)
            status.update(Text(last))

        yield tell
    if last:
        console.print(Text(f"· {last}", style="dim"))


def clean(text: str, *, lines: bool = False) -> str:
    """Text from elsewhere without the characters that would steer a terminal."""
    return "".join(sign if sign.isprintable() or (lines and sign in "\n\t") else " " for sign in text)


def moment(text: str | None) -> str:
    """A time as people read it, to the second, in UTC."""
    if not text:
        return ""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def percent(weight: int) -> str:
    """Ten-thousandths as percent."""
    return f"{weight / 100:g}%"


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return str(value)
