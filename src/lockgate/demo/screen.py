"""How the story is shown: its chapters, what happens in the one under way, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that happened."""

    chapter: str
    sentence: str
    #: Seconds from the story's beginning to the step's end, and from the step before.
    at: float
    took: float


@dataclass(kw_only=True, slots=True)
class _Chapter:
    title: str
    sentence: str = ""
    began: float | None = None
    ended: float | None = None
    failed: bool = False


class Screen:
    """Live on a terminal; elsewhere a line for each step."""

    def __init__(self, console: Console, titles: Sequence[str], *, footer: Callable[[], str]) -> None:
        """
        Args:
            titles: of all chapters, in their order.
            footer: says how the traffic goes; empty before there is any.
        """
        self._console = console
        self._chapters = {title: _Chapter(title=title) for title in titles}
        self._footer = footer
        self._began = self._last = time.monotonic()
        self._now: _Chapter | None = None
        self._live = Live(self, console=console, refresh_per_second=8) if console.is_terminal else None
        self._spinner = Spinner("dots", style="cyan")
        self.steps: list[Step] = []

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._began

    @contextmanager
    def chapter(self, title: str) -> Generator[None]:
        """A chapter; it failed when the block raises."""
        chapter = self._chapters[title]
        chapter.began = self._last = time.monotonic()
        self._now = chapter
        if not self._live:
            place = list(self._chapters).index(title) + 1
            self._console.print(f"{place:2} {title}", style="bold", highlight=False)
        try:
            yield
        except BaseException:
            chapter.failed = True
            raise
        finally:
            chapter.ended = time.monotonic()

    def now(self, sentence: str) -> None:
        """What is happening."""
        if self._now:
            self._now.sentence = sentence

    def done(self, sentence: str) -> None:
        """What has happened since the step before."""
        self.now(sentence)
        ended = time.monotonic()
        title = self._now.title if self._now else ""
        step = Step(chapter=title, sentence=sentence, at=ended - self._began, took=ended - self._last)
        self._last = ended
        self.steps.append(step)
        if not self._live:
            self._console.print(f"   {step.took:5.1f} s  {sentence}", highlight=False, markup=False, soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True, min_width=7)
        table.expand = True
        for chapter in self._chapters.values():
            table.add_row(*self._row(chapter))
        total = Text(f"{self.elapsed:.0f} s  {self._footer()}", style="dim")
        yield Group(table, Text(), total)

    def _row(self, chapter: _Chapter) -> tuple[Text | Spinner, Text, Text, Text]:
        if chapter.began is None:
            return Text("·", style="dim"), Text(chapter.title, style="dim"), Text(), Text()
        taken = Text(f"{(chapter.ended or time.monotonic()) - chapter.began:.1f} s", style="dim")
        if chapter.ended is None:
            return self._spinner, Text(chapter.title, style="bold"), Text(chapter.sentence, style="cyan"), taken
        mark = Text("✗", style="red") if chapter.failed else Text("✓", style="green")
        return mark, Text(chapter.title), Text(chapter.sentence, style="dim"), taken
