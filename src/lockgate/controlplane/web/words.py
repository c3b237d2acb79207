"""Figures as people read them: with their units, and never a nought for what is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

UNKNOWN = "no data"


def count(value: float | None) -> str:
    """A number of things: 950, 12,300, 4.1 M."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.1f} M"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:,.1f}"


def milliseconds(value: float | None) -> str:
    """A latency: 0.42 ms, 12 ms, 1.3 s."""
    if value is None:
        return UNKNOWN
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def share(value: float | None) -> str:
    """A share between 0 and 1: 0 %, 0.03 %, 12 %."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    if percent == 0:
        return "0 %"
    if percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.2f} %" if percent < 1 else f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def figure(value: Any) -> str:
    """Any figure of a gate, with four digits that matter."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def span(seconds: float) -> str:
    """A length of time: 45 s, 10 min, 2 h, 3 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}" if seconds % size == 0 else f"{seconds / size:.1f} {unit}"
    return f"{seconds:g} s"


def many(number: int, noun: str) -> str:
    """1 incident, 2 incidents."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def version(id: str | None) -> str:
    """The short name of a version: v3 for thyroid:3."""
    return "none" if not id else f"v{id.rpartition(':')[2]}"


def short(digest: str | None) -> str:
    """The part of a digest that people compare by eye."""
    return "–" if not digest else digest.removeprefix("sha256:")[:12]


def plain(name: str) -> str:
    """A code's name as words: awaiting_approval is awaiting approval."""
    return name.replace("_", " ")


def moment(text: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text).astimezone(UTC)


def epoch(text: str) -> int:
    """A time of the API in milliseconds, as charts take it."""
    return int(moment(text).timestamp() * 1000)
